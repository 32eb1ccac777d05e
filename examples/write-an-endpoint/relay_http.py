"""A relay over HTTP with Python's own library: it carries the units of a TLS program through a gateway."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import sys
import threading
import time
import urllib.parse

from tls_program import TlsProgram, arguments


class Gateway:
    """One connection; a request without an answer is repeated, which the numbers of units make harmless."""

    def __init__(self, options) -> None:
        url = urllib.parse.urlsplit(options.url)
        tls = ssl.create_default_context(cafile=options.ca_file)
        if options.certificate_file:
            tls.load_cert_chain(options.certificate_file, options.key_file)
        self._connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=40, context=tls)
        self._proof = {}
        if options.token_file:
            with open(options.token_file) as file:
                self._proof = {"Authorization": "Bearer " + file.read().strip()}

    def ask(self, method: str, target: str, body: bytes = b"", **fields: object):
        """The answer, and its body. ``fields``: header fields, with ``_`` for ``-``."""
        named = {name.replace("_", "-"): str(value) for name, value in fields.items()}
        for pause in (0.1, 0.5, 1, 2, 4, 0):
            try:
                self._connection.request(method, target, body, self._proof | named)
                answer = self._connection.getresponse()
                return answer, answer.read()
            except (OSError, http.client.HTTPException) as why:
                self._connection.close()
                lost = why
                time.sleep(pause)
        raise lost


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--url", required=True, help="the gateway, as https://HOST:PORT")
    parser.add_argument("--ca-file", help="whom to trust as gateway")
    parser.add_argument("--token-file", help="our bearer token")
    parser.add_argument("--certificate-file", help="or our certificate, with --key-file")
    parser.add_argument("--key-file")
    options = parser.parse_args()
    media_type = f"application/{options.kind}"
    sending, reading = Gateway(options), Gateway(options)

    if options.open:
        target = f"/atls?to={options.open}&nonce={secrets.token_hex(16)}"
        answer, body = sending.ask("POST", target, Content_Type=media_type)
        if answer.status != 200:
            sys.exit(f"refused: {answer.status} {body.decode()}")
        place = answer.headers["Location"]
    else:
        place = None
        print("waiting", file=sys.stderr, flush=True)
        while place is None:
            _, body = sending.ask("GET", "/atls/inbox", Accept="application/json", Prefer="wait=20")
            sessions = [each["session"] for each in json.loads(body) if each["kind"] == options.kind]
            place = f"/atls/{sessions[0]}" if sessions else None
    program = TlsProgram(options)

    came, lock = 0, threading.Lock()

    def take(answer, body: bytes) -> None:
        """A unit comes once, whichever request it answers, and however often."""
        nonlocal came
        with lock:
            if answer.headers["ATLS-Seq"] == str(came):
                program.hear(body)
                came += 1

    def read() -> None:
        try:
            while True:
                answer, body = reading.ask("POST", place, ATLS_Seq=came, Prefer="wait=20")
                if answer.status == 200:
                    take(answer, body)
                elif answer.status in (429, 503):
                    time.sleep(float(answer.headers.get("Retry-After", 1)))
                else:
                    break  # the session is over
        finally:
            program.hear(b"")

    threading.Thread(target=read, daemon=True).start()
    for n, unit in enumerate(program.units()):
        answer, body = sending.ask("POST", place, unit, Content_Type=media_type, ATLS_Seq=n)
        while answer.status in (429, 503):
            time.sleep(float(answer.headers.get("Retry-After", 1)))
            answer, body = sending.ask("POST", place, unit, Content_Type=media_type, ATLS_Seq=n)
        if answer.status == 200:
            take(answer, body)
        elif answer.status == 404:
            break  # the session is over
        else:
            print(f"unit {n}: {answer.status} {body.decode()}", file=sys.stderr)  # lost, as a datagram may be
    sending.ask("DELETE", place)
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
