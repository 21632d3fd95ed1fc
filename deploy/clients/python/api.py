"""An API that asks caed about each request: api.py PORT CAED, with CAED as `127.0.0.1:7431` or `unix:PATH`."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from access import Access


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        def lines(name):
            return self.headers.get_all(name, [])

        peer = self.client_address[0]
        refusal = access.refusal(lines("Authorization"), peer, lines("X-Forwarded-For"), lines("Forwarded"))
        status, headers = refusal or (200, {})
        body = b"" if refusal else b"the report\n"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port, address = sys.argv[1:]
access = Access(address)
ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
