package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

// maxDeclared bounds what is read of one file, in bytes: the ops API takes no
// more at once.
const maxDeclared = 4 << 20

// declared is what files declare, and where.
type declared struct {
	ops.Declaration
	places   map[string]string // by JSON pointer: file:line:column
	problems []string
	env      func(name string) (string, bool)
}

// readDeclared reads files, of one or more YAML documents each; a directory
// stands for its .yaml and .yml files, and "-" for in. Its error has a line for
// everything that is wrong.
func readDeclared(paths []string, in io.Reader, env func(string) (string, bool)) (*declared, error) {
	d := &declared{places: map[string]string{}, env: env}
	for _, path := range paths {
		files, err := declaredFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := readBounded(file, in)
			if err != nil {
				return nil, err
			}
			d.read(file, text)
		}
	}
	if len(d.problems) > 0 {
		return nil, errors.New(strings.Join(d.problems, "\n"))
	}
	return d, nil
}

func declaredFiles(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		// Those of a mounted ConfigMap are links; what begins with a dot is its own.
		if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no .yaml or .yml file", path)
	}
	return files, nil
}

func readBounded(path string, in io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDeclared+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(text) > maxDeclared {
		return nil, fmt.Errorf("%s has more than %d bytes: split it", path, maxDeclared)
	}
	return text, nil
}

// read takes up a file's documents.
func (d *declared) read(file string, text []byte) {
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := documents.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.problems = append(d.problems, fmt.Sprintf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: ")))
			return
		}
		if len(doc.Content) == 1 && doc.Content[0].Tag != "!!null" {
			source{d, file}.document(doc.Content[0])
		}
	}
}

// source is a file that is being read.
type source struct {
	*declared
	file string
}

func (s source) fail(n *yaml.Node, format string, args ...any) {
	s.problems = append(s.problems, s.place(n)+": "+fmt.Sprintf(format, args...))
}

func (s source) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", s.file, n.Line, n.Column)
}

// document adds a document's lists to those of the ones before.
func (s source) document(root *yaml.Node) {
	former := s.Declaration
	s.Declaration = ops.Declaration{}
	next := reflect.ValueOf(&s.declared.Declaration).Elem()
	s.object(root, next, "", map[string]int{"bots": len(former.Bots), "channels": len(former.Channels), "tokens": len(former.Tokens)})
	if former.Owner != "" && s.Owner != "" && s.Owner != former.Owner {
		s.fail(root, "the owner is %q, and %q before: a run is of one owner", s.Owner, former.Owner)
	}
	if s.Owner == "" {
		s.Owner = former.Owner
	}
	s.Bots = append(former.Bots, s.Bots...)
	s.Channels = append(former.Channels, s.Channels...)
	s.Tokens = append(former.Tokens, s.Tokens...)
}

// notDeclared are what the API shows of an object and no file sets.
var notDeclared = map[string]string{
	"paused": "whether it is paused stays as it is: use `parley ... pause`", "disabled": "whether it is disabled stays as it is: use `parley endpoint disable`",
	"revision": "it is counted", "health": "it is observed", "publicKey": "it is made", "retiring": "it is made by rotating", "managedBy": "give the owner at the top of the file",
}

// value reads a node into v, whose place is a JSON pointer.
func (s source) value(n *yaml.Node, v reflect.Value, pointer string) {
	s.places[pointer] = s.place(n)
	if n.Kind == yaml.AliasNode {
		s.fail(n, "aliases (*%s) are not supported: write it out", n.Value)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		s.value(n, v.Elem(), pointer)
	case reflect.Struct:
		s.object(n, v, pointer, nil)
	case reflect.Slice:
		s.list(n, v, pointer, 0)
	case reflect.Map:
		s.pairs(n, func(key, value *yaml.Node) {
			item := reflect.New(v.Type().Elem()).Elem()
			s.value(value, item, pointer+"/"+escape(key.Value))
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(reflect.ValueOf(key.Value), item)
		})
	case reflect.String:
		v.SetString(s.text(n, pointer))
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			s.fail(n, "this must be true or false")
		}
		v.SetBool(n.Value == "true")
	default:
		i, err := strconv.ParseInt(n.Value, 10, 32)
		if n.Kind != yaml.ScalarNode || err != nil {
			s.fail(n, "this must be a whole number")
		}
		v.SetInt(i)
	}
}

// escape makes a part of a JSON pointer of a name (RFC 6901).
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func (s source) list(n *yaml.Node, v reflect.Value, pointer string, from int) {
	if n.Kind != yaml.SequenceNode {
		s.fail(n, "this must be a list")
		return
	}
	for i, item := range n.Content {
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		s.value(item, v.Index(i), fmt.Sprintf("%s/%d", pointer, from+i))
	}
}

// pairs visits a mapping's pairs, each key once.
func (s source) pairs(n *yaml.Node, visit func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		s.fail(n, "this must be a mapping of names to values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			s.fail(key, "%s stands there twice: remove one", key.Value)
			continue
		}
		seen[key.Value] = true
		visit(key, n.Content[i+1])
	}
}

// object reads a mapping into a struct by its JSON names. from, if any, says
// where a list goes on that began in a document before.
func (s source) object(n *yaml.Node, v reflect.Value, pointer string, from map[string]int) {
	known := map[string]reflect.Value{}
	members(known, v)
	if v.Type() == reflect.TypeFor[ops.Endpoint]() {
		delete(known, "channelId") // it stands in its channel
	}
	s.pairs(n, func(key, value *yaml.Node) {
		field, ok := known[key.Value]
		why, never := notDeclared[key.Value]
		switch {
		case ok && never:
			s.fail(key, "%s can't be declared: %s", key.Value, why)
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			names = slices.DeleteFunc(names, func(name string) bool { return notDeclared[name] != "" })
			s.fail(key, "%q is unknown here%s; there are %s", key.Value, nearest(key.Value, names), strings.Join(names, ", "))
		case value.Tag == "!!null":
			s.fail(value, "%s has no value: give it one or remove the key", key.Value)
		case from != nil && field.Kind() == reflect.Slice:
			s.list(value, field, pointer+"/"+key.Value, from[key.Value])
		default:
			s.value(value, field, pointer+"/"+key.Value)
		}
	})
}

// members finds a struct's fields by their JSON names, with those of the structs
// that it embeds.
func members(into map[string]reflect.Value, v reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" {
			members(into, v.Field(i))
			continue
		}
		into[name] = v.Field(i)
	}
}

// Where a text may come from instead of the file itself.
const (
	fromEnv  = "fromEnv"
	fromFile = "fromFile"
)

// text reads a scalar, or {fromEnv: NAME} or {fromFile: path}.
func (s source) text(n *yaml.Node, pointer string) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[1].Kind != yaml.ScalarNode {
		s.fail(n, "this must be a text, {%s: NAME} or {%s: path}", fromEnv, fromFile)
		return ""
	}
	kind, name := n.Content[0], n.Content[1].Value
	switch kind.Value {
	case fromEnv:
		value, ok := s.env(name)
		if !ok || value == "" {
			s.fail(n.Content[1], "the environment has no %s: set it", name)
		}
		return value
	case fromFile:
		if !filepath.IsAbs(name) && s.file != "-" {
			name = filepath.Join(filepath.Dir(s.file), name)
		}
		s.places[pointer] = name
		value, err := readBounded(name, nil)
		if err != nil {
			if reason, ok := errors.AsType[*fs.PathError](err); ok {
				err = reason.Err
			}
			s.fail(n.Content[1], "reading %s: %s", name, err)
		}
		// A file of one line is a word, whose line end is the editor's.
		if line := strings.TrimRight(string(value), "\r\n"); !strings.Contains(line, "\n") {
			return line
		}
		return string(value)
	}
	s.fail(kind, "%q is unknown here: use %s or %s", kind.Value, fromEnv, fromFile)
	return ""
}

// located says what is wrong with what was declared, with each one's place.
func (d *declared) located(problems []chat.Problem) error {
	lines := make([]string, len(problems))
	for i, p := range problems {
		at := p.Pointer
		for at != "" && d.places[at] == "" {
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
		}
		lines[i] = p.Detail
		if rest := strings.TrimPrefix(p.Pointer, at+"/"); at != "" {
			lines[i] = d.places[at] + ": "
			if rest != p.Pointer {
				lines[i] += rest + ": "
			}
			lines[i] += p.Detail
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}
