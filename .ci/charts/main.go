package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	// A package of each module that is imported, so that go.mod keeps the module.
	_ "github.com/kedacore/keda/v2/version"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
	"go.yaml.in/yaml/v4"
	_ "k8s.io/kubernetes/third_party/forked/golang/expansion"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("name the directory to write to")
	}
	kubernetes, err := moduleDir(ctx, "k8s.io/kubernetes")
	if err != nil {
		return err
	}
	keda, err := moduleDir(ctx, "github.com/kedacore/keda/v2")
	if err != nil {
		return err
	}
	operator, err := moduleDir(ctx, "github.com/prometheus-operator/prometheus-operator")
	if err != nil {
		return err
	}
	schemas, err := readSwagger(filepath.Join(kubernetes, "api/openapi-spec/swagger.json"))
	if err != nil {
		return err
	}
	for _, path := range []string{
		filepath.Join(keda, "config/crd/bases/keda.sh_scaledobjects.yaml"),
		filepath.Join(keda, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
		filepath.Join(operator, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
		filepath.Join(operator, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
	} {
		if err := readCRD(path, schemas); err != nil {
			return err
		}
	}
	for name, schema := range schemas {
		if err := write(filepath.Join(args[0], name), schema); err != nil {
			return err
		}
	}
	return nil
}

// moduleDir is where the module cache has a module, in the version of go.mod.
func moduleDir(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		return "", fmt.Errorf("finding module %s: %w", path, errors.Join(err, errors.New("run go mod download")))
	}
	return dir, nil
}

// fileName is where kubeconform is told to look for a kind's schema.
func fileName(apiVersion, kind string) string {
	return filepath.Join(apiVersion, strings.ToLower(kind)+".json")
}

// readSwagger makes a schema of each kind that Kubernetes itself knows.
func readSwagger(path string) (map[string]schema, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Definitions map[string]schema `json:"definitions"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, s := range doc.Definitions {
		doc.Definitions[name] = strict(s).(schema)
	}
	// Their type in the document is string, which is not all that is taken.
	doc.Definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = schema{"type": []any{"string", "integer"}}
	doc.Definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = schema{"type": []any{"string", "number"}}
	kinds := map[string]schema{}
	for name, s := range doc.Definitions {
		for _, k := range list(s["x-kubernetes-group-version-kind"]) {
			gvk, _ := k.(schema)
			apiVersion := strings.TrimPrefix(fmt.Sprintf("%v/%v", gvk["group"], gvk["version"]), "/")
			used := map[string]schema{}
			collect(doc.Definitions, s, used)
			kinds[fileName(apiVersion, fmt.Sprint(gvk["kind"]))] = schema{
				"$ref": "#/definitions/" + name, "definitions": used,
			}
			used[name] = s
		}
	}
	return kinds, nil
}

// collect adds the definitions that a schema refers to, however deep.
func collect(all map[string]schema, in any, used map[string]schema) {
	switch in := in.(type) {
	case []any:
		for _, v := range in {
			collect(all, v, used)
		}
	case schema:
		if ref, ok := in["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/definitions/")
			if _, has := used[name]; !has {
				used[name] = all[name]
				collect(all, all[name], used)
			}
		}
		for _, v := range in {
			collect(all, v, used)
		}
	}
}

// readCRD adds the schemas of a CustomResourceDefinition.
func readCRD(path string, to map[string]schema) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group string
			Names struct{ Kind string }
			// Each has a schema.
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema schema `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, v := range crd.Spec.Versions {
		to[fileName(crd.Spec.Group+"/"+v.Name, crd.Spec.Names.Kind)] = strict(v.Schema.OpenAPIV3Schema).(schema)
	}
	if len(crd.Spec.Versions) == 0 {
		return fmt.Errorf("%s is no CustomResourceDefinition: it has no versions", path)
	}
	return nil
}

func write(path string, s schema) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

type schema = map[string]any

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// strict turns an OpenAPI schema into a JSON schema that refuses properties it
// doesn't know, where the object has known ones and no leave for others.
func strict(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = strict(v[i])
		}
	case schema:
		for key := range v {
			v[key] = strict(v[key])
		}
		properties, isObject := v["properties"].(schema)
		_, open := v["additionalProperties"]
		if preserve, _ := v["x-kubernetes-preserve-unknown-fields"].(bool); isObject && !open && !preserve && v["type"] == "object" && len(properties) > 0 {
			v["additionalProperties"] = false
		}
		if nullable, _ := v["nullable"].(bool); nullable && v["type"] != nil {
			v["type"] = []any{v["type"], "null"}
		}
	}
	return v
}
