package ops

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

func (s *Service) listEndpoints(c echo.Context) error {
	snap := s.Registry.Snapshot()
	return c.JSON(http.StatusOK, s.endpointList(snap, snap.Endpoints()))
}

func (s *Service) listEndpointsOf(c echo.Context) error {
	snap, id := s.Registry.Snapshot(), c.Param("id")
	if _, ok := snap.Channel(id); !ok {
		return missing(registry.KindChannel, id)
	}
	return c.JSON(http.StatusOK, s.endpointList(snap, snap.EndpointsOf(id)))
}

func (s *Service) endpointList(snap *registry.Snapshot, endpoints []*chat.Endpoint) List[Endpoint] {
	list := List[Endpoint]{Items: []Endpoint{}, Revision: snap.Revision()}
	for _, e := range endpoints {
		revision, _ := snap.RecordRevision(registry.KindEndpoint, e.ID)
		list.Items = append(list.Items, s.withHealth(endpointOf(e, revision)))
	}
	return list
}

func (s *Service) getEndpoint(c echo.Context) error {
	snap, id := s.Registry.Snapshot(), c.Param("id")
	e, ok := snap.Endpoint(id)
	if !ok {
		return missing(registry.KindEndpoint, id)
	}
	revision, _ := snap.RecordRevision(registry.KindEndpoint, id)
	return answer(c, http.StatusOK, revision, s.withHealth(endpointOf(e, revision)))
}

// createEndpoint shows the signing secret that it makes, this once.
func (s *Service) createEndpoint(c echo.Context) error {
	var in Endpoint
	if err := decode(c, &in); err != nil {
		return err
	}
	channel := c.Param("id")
	if in.ChannelID != "" && in.ChannelID != channel {
		return invalid("/channelId", fmt.Sprintf("the path names channel %q, the body %q: leave it out of the body", channel, in.ChannelID))
	}
	_, ok, err := s.Registry.ConfirmChannel(c.Request().Context(), channel)
	if err != nil {
		return refusal(err)
	}
	if !ok {
		return missing(registry.KindChannel, channel)
	}
	in.ChannelID = channel
	if in.ID == "" {
		in.ID = registry.NewEndpointID()
	}
	e, err := in.domain(nil)
	if err != nil {
		return err
	}
	stored, revision, err := s.Registry.PutEndpoint(c.Request().Context(), e, registry.Absent)
	if err != nil {
		return refusal(err)
	}
	return put(c, true, "/endpoints/"+e.ID, revision, endpointMade(&stored, revision, len(in.Secrets) == 0))
}

// putEndpoint keeps the secrets that the body leaves out, so it writes against
// the revision that it read them at.
func (s *Service) putEndpoint(c echo.Context) error {
	var in Endpoint
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := sameID(c, &in.ID); err != nil {
		return err
	}
	expect, err := expectation(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	for {
		snap, err := s.Registry.CatchUp(ctx)
		if err != nil {
			return refusal(err)
		}
		old, exists := snap.Endpoint(in.ID)
		if !exists && expect != registry.Any && expect != registry.Absent {
			return missing(registry.KindEndpoint, in.ID)
		}
		at := expect
		if expect == registry.Any || expect == registry.Present {
			revision, _ := snap.RecordRevision(registry.KindEndpoint, in.ID)
			at = registry.Expect(revision) // 0, Absent, for a new one
		}
		e, err := in.domain(old)
		if err != nil {
			return err
		}
		stored, revision, err := s.Registry.PutEndpoint(ctx, e, at)
		if at != expect && (errors.Is(err, registry.ErrConflict) || errors.Is(err, registry.ErrExists) || errors.Is(err, registry.ErrNotFound)) {
			continue // another write came between: read again
		}
		if err != nil {
			return refusal(err)
		}
		made := !exists && len(in.Secrets) == 0
		return put(c, !exists, "/endpoints/"+e.ID, revision, endpointMade(&stored, revision, made))
	}
}

// endpointMade shows an endpoint; with its signing secrets in clear where they
// were made just now.
func endpointMade(e *chat.Endpoint, revision uint64, made bool) Endpoint {
	out := endpointOf(e, revision)
	out.Sending = sendingOf(&e.Sending, made)
	return out
}

func (s *Service) deleteEndpoint(c echo.Context) error {
	return s.remove(c, s.Registry.DeleteEndpoint)
}

// domain makes the endpoint that the body describes; old, if there is one,
// gives what the body leaves as it is.
func (in *Endpoint) domain(old *chat.Endpoint) (chat.Endpoint, error) {
	var p chat.Problems
	e := chat.Endpoint{
		ID: in.ID, ChannelID: in.ChannelID, URL: in.URL, Events: in.Events, OnExhausted: in.OnExhausted,
		MaxInFlight: in.MaxInFlight, Disabled: in.Disabled, Paused: in.Paused, Supersede: in.Supersede,
		Timeout:     duration(&p, "/timeout", in.Timeout),
		ExpireAfter: duration(&p, "/expireAfter", in.ExpireAfter),
		RateLimit:   rate(&p, "/rateLimit", in.RateLimit),

		DisableAfter: disableAfter(&p, in.DisableAfter),
	}
	for i, d := range in.Retry {
		e.Retry = append(e.Retry, duration(&p, fmt.Sprintf("/retry/%d", i), d))
	}
	if in.VerifyToken != nil {
		e.VerifyToken = chat.Secret(*in.VerifyToken)
	}
	var former *chat.Sending
	if old != nil {
		former = &old.Sending
		if e.ChannelID == "" {
			e.ChannelID = old.ChannelID
		}
		if in.VerifyToken == nil || *in.VerifyToken == Redacted {
			e.VerifyToken = old.VerifyToken
		}
	}
	e.Sending = in.Sending.domain(former)
	return e, p.Err()
}

// never stands for a time that never comes.
const never = "off"

func disableAfter(p *chat.Problems, text string) chat.Duration {
	if text == never {
		return -1
	}
	return duration(p, "/disableAfter", text)
}

func duration(p *chat.Problems, pointer, text string) chat.Duration {
	if strings.TrimSpace(text) == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		p.Add(pointer, fmt.Sprintf(`%q is no duration: write it like "90s" or "1h30m"`, text))
	}
	return chat.Duration(d)
}

// endpointOf shows an endpoint without its secrets.
func endpointOf(e *chat.Endpoint, revision uint64) Endpoint {
	out := Endpoint{
		ID: e.ID, ChannelID: e.ChannelID, URL: e.URL, Events: e.Events, OnExhausted: e.OnExhausted,
		MaxInFlight: e.MaxInFlight, RateLimit: rateText(e.RateLimit), Disabled: e.Disabled, Paused: e.Paused, Supersede: e.Supersede,
		ManagedBy: e.ManagedBy, Revision: revision,
		Sending: sendingOf(&e.Sending, false),
	}
	if e.VerifyToken != "" {
		out.VerifyToken = new(Redacted)
	}
	for _, d := range e.Retry {
		out.Retry = append(out.Retry, d.Std().String())
	}
	if e.Timeout != 0 {
		out.Timeout = e.Timeout.Std().String()
	}
	switch {
	case e.DisableAfter < 0:
		out.DisableAfter = never
	case e.DisableAfter > 0:
		out.DisableAfter = e.DisableAfter.Std().String()
	}
	if e.ExpireAfter != 0 {
		out.ExpireAfter = e.ExpireAfter.Std().String()
	}
	return out
}
