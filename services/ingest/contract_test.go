package ingest_test

import (
	"bytes"
	stderrors "errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/stretchr/testify/require"
)

// contract is docs/api/openapi.yaml, which requests and answers are held
// against.
type contract struct {
	model *v3.Document

	mu        sync.Mutex
	validator validator.Validator
	schemas   schema_validation.SchemaValidator
}

func loadContract(t testing.TB) *contract {
	t.Helper()
	c, err := readContract()
	require.NoError(t, err)
	return c
}

// readContract reads it once: compiling its schemas takes longer than a test.
var readContract = sync.OnceValues(func() (*contract, error) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "api", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	doc, err := libopenapi.NewDocument(raw)
	if err != nil {
		return nil, err
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(doc)
	return &contract{model: &model.Model, validator: v, schemas: schema_validation.NewSchemaValidator()}, stderrors.Join(errs...)
})

// request returns what is wrong with a request.
func (c *contract) request(r *http.Request) []*errors.ValidationError {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, errs := c.validator.ValidateHttpRequestSync(r)
	return errs
}

// requireAnswer holds an answer against the description. NDJSON is held
// against it line by line.
func (c *contract) requireAnswer(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/x-ndjson") {
		for text := range strings.Lines(a.body) {
			c.requireSchema(t, "BatchLine", text)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, errs := c.validator.ValidateHttpResponse(r, &http.Response{
		StatusCode: a.status, Header: a.header, Body: nopCloser{bytes.NewReader([]byte(a.body))},
	})
	require.Empty(t, errs, "%d %s", a.status, a.body)
}

func (c *contract) requireSchema(t *testing.T, name, json string) {
	t.Helper()
	errs := c.schema(t, name, json)
	require.Empty(t, errs, json)
}

func (c *contract) schema(t *testing.T, name, json string) []*errors.ValidationError {
	t.Helper()
	proxy, ok := c.model.Components.Schemas.Get(name)
	require.True(t, ok, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, errs := c.schemas.ValidateSchemaString(proxy.Schema(), json)
	return errs
}

// delivery returns what is wrong with a POST of a bot message.
func (c *contract) delivery(t *testing.T, header http.Header, body string) []*errors.ValidationError {
	t.Helper()
	item, ok := c.model.Webhooks.Get("botMessage")
	require.True(t, ok)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://customer.example/hook", strings.NewReader(body))
	require.NoError(t, err)
	r.Header = header
	c.mu.Lock()
	defer c.mu.Unlock()
	_, errs := c.validator.ValidateHttpRequestSyncWithPathItem(r, item, "/hook")
	return errs
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
