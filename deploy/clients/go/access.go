package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"api/caed"
)

// How long a request waits for caed, which answers within a millisecond.
const deadline = 250 * time.Millisecond

// Access asks caed about each request of an API: may its token be used now? Whoever gets no answer, or one that it
// does not understand, refuses. One of these serves all requests, over one channel that is kept.
type Access struct {
	caed caed.AccessEvaluationClient
}

// NewAccess asks the caed that listens there: "127.0.0.1:7431" or "unix:/run/caed/caed.sock".
func NewAccess(address string) (*Access, error) {
	channel, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// caed is on this host: no proxy leads there.
		grpc.WithNoProxy(),
		// Soon after caed was started again it is found again.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, err
	}
	return &Access{caed.NewAccessEvaluationClient(channel)}, nil
}

// Guard lets a request through to next where caed allows it, and answers it where not.
func (access *Access) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		status := access.refuse(answer.Header(), request)
		if status == http.StatusOK {
			next.ServeHTTP(answer, request)
			return
		}
		answer.Header().Set("Cache-Control", "no-store")
		answer.WriteHeader(status)
	})
}

// refuse returns the status to answer with, and sets what belongs to it; 200 where the request may pass.
func (access *Access) refuse(headers http.Header, request *http.Request) int {
	token, ok := bearer(request.Header.Values("Authorization"))
	if !ok {
		headers.Set("WWW-Authenticate", "Bearer")
		return http.StatusUnauthorized
	}
	peer, _, _ := net.SplitHostPort(request.RemoteAddr)
	// Which of these tell the client's address, caed's configuration says ([client_address]).
	chain := &caed.ForwardedChain{
		Peer:          peer,
		XForwardedFor: request.Header.Values("X-Forwarded-For"),
		Forwarded:     request.Header.Values("Forwarded"),
	}
	limited, cancel := context.WithTimeout(request.Context(), deadline)
	defer cancel()
	reply, err := access.caed.Evaluate(limited, &caed.EvaluateRequest{
		Token:  &caed.EvaluateRequest_Jwt{Jwt: token},
		Client: &caed.ClientAddress{Is: &caed.ClientAddress_Forwarded{Forwarded: chain}},
	})
	if err == nil && reply.Verdict == caed.Verdict_VERDICT_ALLOW {
		return http.StatusOK
	}
	switch status := int(reply.GetHttpStatus()); status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable:
		if reply.WwwAuthenticate != "" {
			headers.Set("WWW-Authenticate", reply.WwwAuthenticate)
		}
		if reply.RetryAfterS != 0 {
			headers.Set("Retry-After", strconv.Itoa(int(reply.RetryAfterS)))
		}
		return status
	default:
		headers.Set("Retry-After", "1")
		return http.StatusServiceUnavailable
	}
}

// bearer returns the token, where there is exactly one.
func bearer(authorization []string) (string, bool) {
	if len(authorization) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "bearer") && token != ""
}
