package problem

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
)

// Handler is echo's error handler that answers every error with a problem. It
// logs those of status 500; the others are the caller's, or counted where they
// come from.
func Handler(log *zap.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		p := From(err)
		if p == nil {
			return
		}
		if gone(c.Request().Context(), err) {
			return // nobody reads the answer
		}
		if p.Status == http.StatusInternalServerError {
			log.Error("a request failed", zap.String("method", c.Request().Method),
				zap.String("route", c.Path()), zap.Error(p.Cause))
		}
		if c.Response().Committed {
			log.Warn("a request failed after its answer had begun", zap.String("route", c.Path()), zap.Error(err))
			return
		}
		if err := Write(c.Response(), p); err != nil {
			log.Debug("an answer could not be written", zap.String("route", c.Path()), zap.Error(err))
		}
	}
}

func gone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// Recover is echo middleware that makes an error, and so a problem of status
// 500 and a log line with the stack, of a panic in a handler.
func Recover(log *zap.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) (err error) {
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(v) // net/http's way to drop the connection
				}
				log.Error("a handler panicked", zap.String("route", c.Path()),
					zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
				err = fmt.Errorf("panic: %v", v)
			}()
			return next(c)
		}
	}
}
