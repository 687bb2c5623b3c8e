package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// parseConfigFile reads a YAML mapping from flags to values. A key that is a
// flag of another command is fine, so that one file may serve all; a key that
// is no flag at all is an error, as is one that stands twice.
func parseConfigFile(path string, data []byte, known map[string]*pflag.Flag) (map[string]setting, faults) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, faults{fmt.Errorf("%s: %w", path, err)}
	}
	if doc.Kind == 0 || len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, faults{fmt.Errorf("%s:%d: the file must be a mapping of flags to values, such as \"data-dir: /var/lib/parley\"", path, top.Line)}
	}
	found := make(map[string]setting, len(top.Content)/2)
	var wrong faults
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		if _, ok := known[key.Value]; !ok || key.Value == configFlag {
			wrong = append(wrong, fmt.Errorf("%s is no flag of any command: keys are the flags' names without dashes in front", at))
			continue
		}
		if _, twice := found[key.Value]; twice {
			wrong = append(wrong, fmt.Errorf("%s stands there twice: remove one", at))
			continue
		}
		values, err := scalars(value)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", at, err))
			continue
		}
		found[key.Value] = setting{source: at, file: path, values: values}
	}
	return found, wrong
}

// scalars reads a scalar, or a list of scalars.
func scalars(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, fmt.Errorf("has no value: give it one or remove the key")
		}
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		list := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: a list holds plain values only", item.Line)
			}
			list = append(list, item.Value)
		}
		return list, nil
	}
	return nil, fmt.Errorf("is a mapping: a flag takes a plain value or a list of them")
}
