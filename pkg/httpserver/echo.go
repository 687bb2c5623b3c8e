package httpserver

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/problem"
)

// NewEcho makes a router that answers every error and panic with a problem.
func NewEcho(log *zap.Logger) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = problem.Handler(log)
	e.Use(problem.Recover(log))
	return e
}

// Limit lets at most n requests be under way at once; the others are answered
// 503 at once, after refused (which may be nil) was called.
func Limit(n int, refused func()) echo.MiddlewareFunc {
	slots := make(chan struct{}, n)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			select {
			case slots <- struct{}{}:
			default:
				if refused != nil {
					refused()
				}
				p := problem.New(http.StatusServiceUnavailable, "overloaded",
					"too many requests are under way: send it again after the time in Retry-After")
				p.RetryAfter = time.Second
				return p
			}
			defer func() { <-slots }()
			return next(c)
		}
	}
}
