package ingest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

// Content types that are taken. Without one the body is read as JSON.
const (
	contentJSON   = "application/json"
	contentNDJSON = "application/x-ndjson"
)

// readBody reads a body of at most limit bytes.
func readBody(c echo.Context, contentType string, limit int64) ([]byte, error) {
	r := c.Request()
	if err := checkContent(r.Header, contentType); err != nil {
		return nil, err
	}
	tooLarge := &http.MaxBytesError{Limit: limit}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	body := http.MaxBytesReader(c.Response(), r.Body, limit)
	data, err := readAll(body, r.ContentLength)
	if errors.As(err, &tooLarge) {
		return nil, tooLarge
	}
	if err != nil {
		p := problem.New(http.StatusBadRequest, slugBodyUnreadable, "the body did not arrive whole and in time: send it again")
		p.Cause = err
		return nil, p
	}
	return data, nil
}

func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	data := make([]byte, length)
	_, err := io.ReadFull(r, data)
	return data, err
}

func checkContent(h http.Header, want string) error {
	if enc := h.Get(echo.HeaderContentEncoding); enc != "" && enc != "identity" {
		return problem.New(http.StatusUnsupportedMediaType, slugMediaType, "the body is encoded: send it without Content-Encoding")
	}
	given := h.Get(echo.HeaderContentType)
	if given == "" || given == want {
		return nil
	}
	media, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || media != want || charset != "" && charset != "utf-8" && charset != "UTF-8" {
		return problem.New(http.StatusUnsupportedMediaType, slugMediaType, "the content type is not one that this path takes: send "+want+" in UTF-8")
	}
	return nil
}

// notDecoded makes a problem of a decoder's error: 400 where the body is no
// JSON, else 422.
func notDecoded(body []byte, err error) error {
	if isJSON(body) {
		return err // a ValidationError, which is answered 422
	}
	p := problem.New(http.StatusBadRequest, slugNotJSON, "the body is not JSON in UTF-8: see errors")
	if invalid, ok := errors.AsType[*chat.ValidationError](err); ok {
		p.Errors = invalid.Problems
	}
	return p
}

func isJSON(body []byte) bool { return json.Valid(body) && utf8.Valid(body) }

// param returns a path parameter as the client meant it; echo leaves it
// encoded where the path is not in its default encoding.
func param(c echo.Context, name string) string {
	v := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return v
	}
	if plain, err := url.PathUnescape(v); err == nil {
		return plain
	}
	return v
}
