package flow

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// Bounds of an expression. They keep one evaluation below a second and to some
// megabytes, even one that was made to be slow and over variables as large as
// they can be: no loop within a loop, at most two loops in a row, no way to grow
// a text or a list again and again.
const (
	maxSource   = 2_000  // bytes
	maxNodes    = 300    // of the syntax tree
	maxLoops    = 2      // map, filter, all, …
	maxElements = 2_000  // the memory budget: elements made in one evaluation
	maxResult   = 64_000 // bytes of what join and replace make
)

// allowed are the built-in functions that an expression may use: those without
// time and chance, whose result is not larger than what they are given.
func allowed(name string) bool {
	return slices.Contains([]string{
		"all", "none", "any", "one", "filter", "map", "find", "findIndex", "count", "sum", "sortBy",
		"len", "type", "abs", "ceil", "floor", "round", "int", "float", "string",
		"trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
		"max", "min", "mean", "median", "first", "last", "get", "take", "keys", "values", "reverse", "concat", "sort",
		"join", "replace", "fixed",
	}, name)
}

// expression is a compiled expression.
type expression struct {
	source  string
	program *vm.Program
}

func compileExpression(source string) (*expression, error) {
	source = strings.TrimSpace(source)
	if source == "" {
		return nil, errors.New("the expression is empty")
	}
	if len(source) > maxSource {
		return nil, fmt.Errorf("the expression has %d bytes: make it at most %d", len(source), maxSource)
	}
	if err := lint(source); err != nil {
		return nil, err
	}
	program, err := expr.Compile(source, expr.MaxNodes(maxNodes),
		expr.Optimize(false), // it would make constant ranges when it compiles, outside of the memory budget
		expr.DisableBuiltin("join"), expr.Function("join", join),
		expr.DisableBuiltin("replace"), expr.Function("replace", replace),
		expr.Function("fixed", fixed))
	if err != nil {
		return nil, wordExpressionError(source, err)
	}
	return &expression{source: source, program: program}, nil
}

// eval evaluates the expression; env is not changed.
func (e *expression) eval(env map[string]any) (any, error) {
	machine := vm.VM{MemoryBudget: maxElements}
	v, err := machine.Run(e.program, env)
	if err != nil {
		return nil, wordExpressionError(e.source, err)
	}
	return v, nil
}

func wordExpressionError(source string, err error) error {
	if at, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Errorf("the expression %q is wrong at character %d: %s", source, at.Column+1, at.Message)
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("the expression %q is wrong: %s", source, first)
}

// lint refuses what the package doesn't allow in expressions.
func lint(source string) error {
	tree, err := parser.Parse(source)
	if err != nil {
		return wordExpressionError(source, err)
	}
	l := &linter{}
	ast.Walk(&tree.Node, l)
	if l.loops > maxLoops {
		l.refuse(fmt.Sprintf("at most %d of map, filter, all and the like may stand in one expression: use a set step between", maxLoops))
	}
	if l.problem != "" {
		return fmt.Errorf("the expression %q can't be used: %s", source, l.problem)
	}
	return nil
}

type linter struct {
	loops   int
	whole   string // a function that goes through a whole list, if there is one
	problem string
}

func (l *linter) function(name string) {
	if slices.Contains([]string{"join", "split", "sort", "reverse", "concat", "keys", "values", "mean", "median", "take"}, name) {
		l.whole = name
	}
}

func (l *linter) refuse(problem string) {
	if l.problem == "" {
		l.problem = problem
	}
}

// Visit implements ast.Visitor; children are visited before their parents.
func (l *linter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BuiltinNode:
		l.function(n.Name)
		if !allowed(n.Name) {
			l.refuse("the function " + n.Name + " is not available")
		}
	case *ast.CallNode:
		name, ok := n.Callee.(*ast.IdentifierNode)
		if !ok {
			l.refuse("only functions can be called")
		} else if l.function(name.Value); !allowed(name.Value) {
			l.refuse("there is no function " + name.Value)
		}
	case *ast.PredicateNode:
		l.loops++
		inner := &linter{}
		ast.Walk(&n.Node, inner)
		if inner.loops > 0 {
			l.refuse("a loop can't stand in a loop: use a set step before")
		}
		if inner.whole != "" {
			l.refuse(inner.whole + " can't stand in a loop, since it goes through a whole list itself: use a set step before")
		}
	case *ast.VariableDeclaratorNode:
		l.refuse("let is not available: use a set step before")
	case *ast.SequenceNode:
		l.refuse("write one expression, without ;")
	}
}

func join(params ...any) (any, error) {
	if len(params) < 1 || len(params) > 2 {
		return nil, errors.New("join takes a list and a separator")
	}
	list, ok := params[0].([]any)
	if !ok {
		return nil, errors.New("join takes a list")
	}
	separator := ""
	if len(params) == 2 {
		separator = format(params[1])
	}
	var b strings.Builder
	for i, v := range list {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(format(v))
		if b.Len() > maxResult {
			return nil, errors.New("join: the text becomes too long")
		}
	}
	return b.String(), nil
}

func replace(params ...any) (any, error) {
	if len(params) != 3 {
		return nil, errors.New("replace takes a text, what to replace and what to put there")
	}
	s, old, by := format(params[0]), format(params[1]), format(params[2])
	if old == "" {
		return nil, errors.New("replace: what to replace is empty")
	}
	if len(s)+strings.Count(s, old)*len(by) > maxResult {
		return nil, errors.New("replace: the text becomes too long")
	}
	return strings.ReplaceAll(s, old, by), nil
}

// fixed writes a number with so many decimals: fixed(9.5, 2) is "9.50".
func fixed(params ...any) (any, error) {
	if len(params) != 2 {
		return nil, errors.New("fixed takes a number and how many decimals")
	}
	value, ok := asFloat(params[0])
	decimals, ok2 := asFloat(params[1])
	if !ok || !ok2 || decimals < 0 || decimals > 9 {
		return nil, errors.New("fixed takes a number and 0 to 9 decimals")
	}
	return strconv.FormatFloat(value, 'f', int(decimals), 64), nil
}

func asFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	default:
		return 0, false
	}
}
