package webhooktest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// ParsePlan reads a plan from YAML or JSON. The error says in which line and
// step something is wrong, and what to change.
//
//	each: conversation      # every conversation goes through the steps by itself
//	steps:
//	  - 204                 # a status alone
//	  - hang                # a fault alone
//	  - status: 503
//	    retry-after: 2s     # or retry-after-date: 2s
//	    times: 3            # or forever
//	  - conversation: anna  # only for this senderId
//	    redirect: http://169.254.169.254/
//
// A step has any of the fields of [Step] and [Reply]: status, header,
// header-bytes, body, body-bytes, retry-after, retry-after-date, redirect,
// delay, trickle, fault, down, times, conversation.
func ParsePlan(data []byte) (Plan, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Plan{}, fmt.Errorf("this is neither YAML nor JSON: %w", err)
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return Plan{}, errNoSteps
	}
	var p Plan
	steps := doc.Content[0]
	if steps.Kind == yaml.MappingNode {
		var err error
		if steps, err = p.readTop(steps); err != nil {
			return Plan{}, err
		}
	}
	switch {
	case steps == nil:
		return Plan{}, errNoSteps
	case steps.Kind != yaml.SequenceNode:
		return Plan{}, at(steps, "the steps must be a list (lines that begin with -)")
	case len(steps.Content) == 0:
		return Plan{}, errNoSteps
	}
	for i, n := range steps.Content {
		s, err := readStep(n)
		if err == nil {
			err = s.validate(p.EachConversation)
		}
		if err != nil {
			return Plan{}, fmt.Errorf("line %d: step %d: %w", n.Line, i+1, err)
		}
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}

func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

// readTop reads the keys around the steps, and returns the steps.
func (p *Plan) readTop(n *yaml.Node) (steps *yaml.Node, err error) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Value == "steps":
			steps = value
		case key.Value != "each":
			return nil, at(key, "%q is unknown here: use steps and each", key.Value)
		case value.Value != "conversation":
			return nil, at(value, "each must be \"conversation\"; leave it out to have all requests share the steps")
		default:
			p.EachConversation = true
		}
	}
	return steps, nil
}

// stepFields read a step's fields.
var stepFields = map[string]func(*Step, *yaml.Node) error{
	"status":           func(s *Step, n *yaml.Node) error { return readNumber(n, &s.Status) },
	"header":           readHeader,
	"header-bytes":     func(s *Step, n *yaml.Node) error { return readNumber(n, &s.HeaderBytes) },
	"body":             func(s *Step, n *yaml.Node) error { return readText(n, &s.Body) },
	"body-bytes":       func(s *Step, n *yaml.Node) error { return readNumber(n, &s.BodyBytes) },
	"retry-after":      readRetryAfter,
	"retry-after-date": func(s *Step, n *yaml.Node) error { return readTime(n, &s.RetryAt) },
	"redirect":         func(s *Step, n *yaml.Node) error { return readText(n, &s.Redirect) },
	"delay":            func(s *Step, n *yaml.Node) error { return readTime(n, &s.Delay) },
	"trickle":          func(s *Step, n *yaml.Node) error { return readTime(n, &s.Trickle) },
	"fault":            func(s *Step, n *yaml.Node) error { return readText(n, (*string)(&s.Fault)) },
	"down":             func(s *Step, n *yaml.Node) error { return readTime(n, &s.Down) },
	"times":            readTimes,
	"conversation":     func(s *Step, n *yaml.Node) error { return readText(n, &s.Conversation) },
}

func readStep(n *yaml.Node) (Step, error) {
	var s Step
	switch n.Kind {
	case yaml.ScalarNode: // a status or a fault alone
		if readNumber(n, &s.Status) != nil {
			return s, readText(n, (*string)(&s.Fault))
		}
		return s, nil
	case yaml.MappingNode:
	default:
		return s, errors.New("it must be a status, a fault or a mapping (key: value)")
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := stepFields[key.Value]
		if !ok {
			known := make([]string, 0, len(stepFields))
			for name := range stepFields {
				known = append(known, name)
			}
			slices.Sort(known)
			return s, fmt.Errorf("%q is unknown: use %s", key.Value, strings.Join(known, ", "))
		}
		if slices.Contains(seen, key.Value) {
			return s, fmt.Errorf("%s stands there twice: remove one", key.Value)
		}
		seen = append(seen, key.Value)
		if err := read(&s, value); err != nil {
			return s, fmt.Errorf("%s %w", key.Value, err)
		}
	}
	return s, nil
}

func readText(n *yaml.Node, into *string) error {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		return errors.New("must be a text: write one or remove the key")
	}
	*into = n.Value
	return nil
}

func readNumber(n *yaml.Node, into *int) error {
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return errors.New("must be a whole number, such as 503")
	}
	*into = i
	return nil
}

func readTime(n *yaml.Node, into *time.Duration) error {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d == 0 {
		return errors.New("must be a time with its unit, such as 200ms, 5s or 2m")
	}
	*into = d
	return nil
}

// readRetryAfter takes seconds too, as the field itself has them.
func readRetryAfter(s *Step, n *yaml.Node) error {
	var seconds int
	if readNumber(n, &seconds) == nil && seconds > 0 {
		s.RetryAfter = time.Duration(seconds) * time.Second
		return nil
	}
	return readTime(n, &s.RetryAfter)
}

func readTimes(s *Step, n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "forever" {
		s.Times = Forever
		return nil
	}
	if readNumber(n, &s.Times) != nil || s.Times < 1 {
		return errors.New("must be a whole number of 1 and more, or forever")
	}
	return nil
}

func readHeader(s *Step, n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("must be a mapping of names to values, such as {X-Reason: maintenance}")
	}
	s.Header = http.Header{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var value string
		if err := readText(n.Content[i+1], &value); err != nil {
			return fmt.Errorf("%s %w", n.Content[i].Value, err)
		}
		s.Header.Add(n.Content[i].Value, value)
	}
	return nil
}
