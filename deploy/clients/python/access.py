"""Asks caed about each request of an API: may its token be used now?

Whoever gets no answer, or one that it does not understand, refuses.
"""

import grpc

from caed.v1 import decision_pb2 as caed
from caed.v1 import decision_pb2_grpc

# How long a request waits for caed, which answers within a millisecond.
DEADLINE_S = 0.25

OPTIONS = [
    # Soon after caed was started again it is found again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # caed is on this host: no proxy leads there.
    ("grpc.enable_http_proxy", 0),
    # Else the name of a Unix socket stands where HTTP/2 has a host's, and caed, which reads that strictly, refuses it.
    ("grpc.default_authority", "localhost"),
]

UNDECIDED = 503, {"Retry-After": "1", "Cache-Control": "no-store"}


class Access:
    """One of these serves all requests, in all threads, over one channel that is kept."""

    def __init__(self, address):
        """`address`: where caed listens, `127.0.0.1:7431` or `unix:/run/caed/caed.sock`."""
        self.caed = decision_pb2_grpc.AccessEvaluationStub(grpc.insecure_channel(address, OPTIONS))

    def refusal(self, authorization, peer, x_forwarded_for=(), forwarded=()):
        """Status and headers to refuse a request with; None where it may pass.

        `peer` is the address that connected; the others are the values of these headers, one a line, as they came.
        Which of them tell the client's address, caed's configuration says (`[client_address]`).
        """
        token = bearer(authorization)
        if token is None:
            return 401, {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
        chain = caed.ForwardedChain(peer=peer, x_forwarded_for=x_forwarded_for, forwarded=forwarded)
        request = caed.EvaluateRequest(jwt=token, client=caed.ClientAddress(forwarded=chain))
        try:
            reply = self.caed.Evaluate(request, timeout=DEADLINE_S)
        except grpc.RpcError:
            return UNDECIDED
        if reply.verdict == caed.VERDICT_ALLOW:
            return None
        if reply.http_status not in (401, 403, 503):
            return UNDECIDED
        headers = {"Cache-Control": "no-store"}
        if reply.www_authenticate:
            headers["WWW-Authenticate"] = reply.www_authenticate
        if reply.retry_after_s:
            headers["Retry-After"] = str(reply.retry_after_s)
        return reply.http_status, headers


def bearer(authorization):
    """The token, where there is exactly one."""
    if len(authorization) != 1:
        return None
    scheme, _, token = authorization[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
