package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/httpserver"
)

const (
	// checkTimeout bounds one readiness check.
	checkTimeout = 2 * time.Second
	// adminRequests is how many requests may be under way at once.
	adminRequests = 256
	// adminBody bounds a request's body: the largest is a flow bot's YAML.
	adminBody = "4M"
)

// Check reports why a part of the process can't do its work; nil when it can.
// It must return when the context ends.
type Check func(ctx context.Context) error

// Admin is the server for operators and machines.
type Admin struct {
	echo *echo.Echo
	srv  *httpserver.Server

	mu     sync.Mutex
	checks []namedCheck
}

type namedCheck struct {
	name     string
	check    Check
	optional bool // what it checks can be done without
}

// NewAdmin binds the address; addr's port may be 0. Run must follow.
func NewAdmin(addr string, reg *prometheus.Registry, log *zap.Logger) (*Admin, error) {
	a := &Admin{echo: httpserver.NewEcho(log)}
	reg.MustRegister((*checksCollector)(a))
	a.echo.Use(httpserver.Limit(adminRequests, nil), middleware.BodyLimit(adminBody))
	a.echo.GET("/livez", func(c echo.Context) error {
		return c.JSON(http.StatusOK, readiness{Status: statusOK})
	})
	a.echo.GET("/readyz", a.ready)
	a.echo.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: zap.NewStdLog(log), Registry: reg, EnableOpenMetrics: true, MaxRequestsInFlight: 8,
	})))
	mountPprof(a.echo)
	var err error
	a.srv, err = httpserver.New(httpserver.Options{
		Addr: addr, WriteTimeout: 2 * time.Minute, // a profile takes 30 s by default
	}, a.echo, log.Named("admin"))
	if err != nil {
		return nil, fmt.Errorf("admin server: %w", err)
	}
	return a, nil
}

// AddCheck adds a readiness check; it may be called while the server runs. A
// name that is there already gets the new check.
func (a *Admin) AddCheck(name string, check Check) { a.add(namedCheck{name: name, check: check}) }

// AddOptionalCheck adds a check of what the process can do without: while it
// fails the process is degraded, and ready.
func (a *Admin) AddOptionalCheck(name string, check Check) {
	a.add(namedCheck{name: name, check: check, optional: true})
}

func (a *Admin) add(added namedCheck) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = slices.DeleteFunc(a.checks, func(c namedCheck) bool { return c.name == added.name })
	a.checks = append(a.checks, added)
	slices.SortFunc(a.checks, func(x, y namedCheck) int { return strings.Compare(x.name, y.name) })
}

// Echo returns the router, for APIs that share the server. Routes are added
// before Run.
func (a *Admin) Echo() *echo.Echo { return a.echo }

// Addr returns the address that is bound.
func (a *Admin) Addr() string { return a.srv.Addr() }

// Run serves until the context ends, and drains.
func (a *Admin) Run(ctx context.Context) error { return a.srv.Run(ctx) }

// The words of a readiness answer.
const (
	statusOK       = "ok"
	statusDegraded = "degraded" // something fails that can be done without
	statusFailing  = "failing"
)

type readiness struct {
	Status string        `json:"status"`
	Checks []checkResult `json:"checks,omitempty"`
}

type checkResult struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

func (a *Admin) ready(c echo.Context) error {
	results := a.run(c.Request().Context())
	answer, code := readiness{Status: statusOK, Checks: results}, http.StatusOK
	has := func(status string) bool {
		return slices.ContainsFunc(results, func(r checkResult) bool { return r.Status == status })
	}
	switch {
	case has(statusFailing):
		answer.Status, code = statusFailing, http.StatusServiceUnavailable
	case has(statusDegraded):
		answer.Status = statusDegraded
	}
	return c.JSON(code, answer)
}

// run runs all checks at once.
func (a *Admin) run(ctx context.Context) []checkResult {
	a.mu.Lock()
	checks := slices.Clone(a.checks)
	a.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	results := make([]checkResult, len(checks))
	var wg sync.WaitGroup
	for i, nc := range checks {
		wg.Go(func() { results[i] = nc.run(ctx) })
	}
	wg.Wait()
	return results
}

// checksCollector has the checks run when the metrics are read.
type checksCollector Admin

var checkDesc = prometheus.NewDesc("parley_check_ok",
	"Whether a part that the process stands on works, by the checks of /readyz: 1 or 0.", []string{"check"}, nil)

// Describe implements prometheus.Collector.
func (*checksCollector) Describe(out chan<- *prometheus.Desc) { out <- checkDesc }

// Collect implements prometheus.Collector.
func (c *checksCollector) Collect(out chan<- prometheus.Metric) {
	for _, r := range (*Admin)(c).run(context.Background()) {
		ok := 0.0
		if r.Status == statusOK {
			ok = 1
		}
		out <- prometheus.MustNewConstMetric(checkDesc, prometheus.GaugeValue, ok, r.Name)
	}
}

func (nc namedCheck) run(ctx context.Context) (res checkResult) {
	res = checkResult{Name: nc.name, Status: statusOK}
	failing := statusFailing
	if nc.optional {
		failing = statusDegraded
	}
	defer func() {
		if v := recover(); v != nil {
			res.Status, res.Error = failing, fmt.Sprintf("the check panicked: %v", v)
		}
	}()
	if err := nc.check(ctx); err != nil {
		res.Status, res.Error = failing, err.Error()
	}
	return res
}

func mountPprof(e *echo.Echo) {
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/cmdline", echo.WrapHandler(http.HandlerFunc(pprof.Cmdline)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	e.GET("/debug/pprof/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
	e.GET("/debug/pprof/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
}
