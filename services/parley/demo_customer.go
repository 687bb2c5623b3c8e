package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/httpserver"
)

// demoCustomer is the customer of the demo: an endpoint on loopback that takes
// only deliveries with a right signature, and hands them to the player.
type demoCustomer struct {
	server *httpserver.Server
	verify atomic.Pointer[func(http.Header, []byte) error]
	inbox  chan *delivery
}

// demoInbox is how many deliveries may wait for the player; more are refused,
// so that they come again.
const demoInbox = 256

// newDemoCustomer listens at a free port of loopback. refused gets why a
// delivery was turned down. run must follow.
func newDemoCustomer(refused func(reason string)) (*demoCustomer, error) {
	c := &demoCustomer{inbox: make(chan *delivery, demoInbox)}
	endpoint := &customerEndpoint{verify: c.check, accept: c.accept, refused: refused}
	srv, err := httpserver.New(httpserver.Options{Addr: "127.0.0.1:0"}, endpoint.handler(), zap.NewNop())
	if err != nil {
		return nil, fmt.Errorf("the demo's endpoint: %w", err)
	}
	c.server = srv
	return c, nil
}

// url is the endpoint's URL, for its registration.
func (c *demoCustomer) url() string { return "http://" + c.server.Addr() + "/webhook" }

// trust sets the signing secrets that the registration gave.
func (c *demoCustomer) trust(secrets ...chat.Secret) error {
	verify, err := signatureCheck(secrets)
	if err != nil {
		return fmt.Errorf("the demo's endpoint: %w", err)
	}
	if verify == nil {
		return errors.New("the demo's endpoint: it needs a signing secret")
	}
	c.verify.Store(&verify)
	return nil
}

// run serves until the context ends.
func (c *demoCustomer) run(ctx context.Context) error {
	return c.server.Run(ctx)
}

func (c *demoCustomer) check(h http.Header, body []byte) error {
	verify := c.verify.Load()
	if verify == nil {
		return errors.New("no signing secret is known yet")
	}
	return (*verify)(h, body)
}

func (c *demoCustomer) accept(d *delivery) error {
	select {
	case c.inbox <- d:
		return nil
	default:
		return errors.New("too many deliveries wait: send it again")
	}
}

// next waits for a delivery.
func (c *demoCustomer) next(ctx context.Context) (*delivery, error) {
	select {
	case d := <-c.inbox:
		return d, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
