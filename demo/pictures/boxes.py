"""The boxes that stand between two ends of a picture: how each is started, and its configuration.

Each keeps its files below the stack's directory, logs to standard error (``NAME.log`` there) and listens on loopback
when the function returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from demo.process import Process
from demo.stack import Stack, listening

NGINX: Final = """\
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr warn;
events {{}}
http {{
  log_format seen '$request_method $request_uri type=$content_type length=$content_length -> '
    '$status $sent_http_content_type';
  access_log {folder}/{name}.access.log seen;
  client_body_temp_path {folder}/{name}.t1; proxy_temp_path {folder}/{name}.t2; fastcgi_temp_path {folder}/{name}.t3;
  uwsgi_temp_path {folder}/{name}.t4; scgi_temp_path {folder}/{name}.t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_read_timeout 120s;
      {more}
    }}
  }}
}}
"""


async def start_box(stack: Stack, name: str, command: Sequence[str], port: int) -> Process:
    """``command``, once it listens on ``port``. ProcessFailedError: it does not."""
    process = await stack.start(name, command)
    await listening(port, process)
    return process


async def start_nginx(
    stack: Stack, name: str, *, port: int, upstream: str, certificate: Path, key: Path, more: str = ""
) -> Process:
    """nginx that ends TLS at ``port`` and forwards to ``upstream``, a URL. ``more``: lines of its location.

    ``NAME.access.log`` has a line for each request.
    """
    text = NGINX.format(
        folder=stack.directory,
        name=name,
        port=port,
        upstream=upstream,
        certificate=certificate,
        key=key,
        more=more,
    )
    path = stack.directory / f"{name}.conf"
    path.write_text(text)
    return await start_box(stack, name, ["/usr/sbin/nginx", "-c", str(path), "-e", "stderr"], port)
