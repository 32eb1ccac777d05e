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
HAPROXY: Final = """\
global
  log stdout format raw local0
defaults
  log global
  timeout connect 5s
  timeout client 120s
  timeout server 120s
frontend {name}
  bind 127.0.0.1:{port}{tls}
{frontend}
  default_backend gateway
backend gateway
  mode {mode}
  server gateway 127.0.0.1:{to}
"""
HAPROXY_HTTP: Final = """\
  mode http
  http-request capture req.hdr(Content-Type) len 40
  http-request capture req.hdr(Authorization),word(1,' ') len 12
  log-format "%HM %HU type=%[capture.req.hdr(0)] authorization=%[capture.req.hdr(1)] -> %ST\""""
HAPROXY_TCP: Final = """\
  mode tcp
  tcp-request inspect-delay 5s
  tcp-request content capture req.ssl_sni len 64
  tcp-request content accept if { req.ssl_hello_type 1 }
  log-format "name=%[capture.req.hdr(0)] up=%U down=%B\""""


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


async def start_haproxy(stack: Stack, name: str, *, port: int, to: int, tls: Path | None) -> Process:
    """HAProxy at ``port`` in front of ``to`` on this machine. With ``tls``, a file with certificate and key, it ends
    TLS and speaks http; without, it forwards TCP (mode tcp). It prints a line for each request, or each connection
    that is over."""
    text = HAPROXY.format(
        name=name,
        port=port,
        to=to,
        tls=f" ssl crt {tls}" if tls is not None else "",
        mode="http" if tls is not None else "tcp",
        frontend=HAPROXY_HTTP if tls is not None else HAPROXY_TCP,
    )
    path = stack.directory / f"{name}.cfg"
    path.write_text(text)
    return await start_box(stack, name, ["/usr/sbin/haproxy", "-db", "-f", str(path)], port)
