package flow

import (
	"slices"
	"strings"
)

// Definition is a parsed file. It doesn't change and may be shared.
type Definition struct {
	name          string
	locale        string   // the default, lower case
	locales       []string // all in use, lower case
	variables     []assignment
	intro         string
	notUnderstood notUnderstood
	on            map[string]string // input's name (file, location) to dialog
	intents       []*intent
	index         map[string]*index // by locale
	dialogs       map[string]*dialog
	warnings      []Problem
}

// notUnderstood says where to go when an input means nothing to the bot, and
// where instead when that happened after times in a row.
type notUnderstood struct {
	dialog string
	after  int
	then   string
}

type dialog struct {
	name  string
	steps []step
}

// Name returns the bot's name: the file's bot, else the name given to Parse.
func (d *Definition) Name() string { return d.name }

// Warnings returns what is doubtful in the file: Messenger's limits exceeded,
// dialogs that nothing leads to, and the like.
func (d *Definition) Warnings() []Problem { return slices.Clone(d.warnings) }

// Dialogs returns the dialogs' names, sorted.
func (d *Definition) Dialogs() []string {
	names := make([]string, 0, len(d.dialogs))
	for name := range d.dialogs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chain lists the locales to try for a conversation's locale: itself, then
// without its last subtags, then the default likewise; all lower case.
func (d *Definition) chain(locale string) []string {
	var chain []string
	for _, tag := range []string{strings.ToLower(strings.ReplaceAll(locale, "_", "-")), d.locale} {
		for tag != "" {
			if !slices.Contains(chain, tag) {
				chain = append(chain, tag)
			}
			cut := strings.LastIndexByte(tag, '-')
			if cut < 0 {
				break
			}
			tag = tag[:cut]
		}
	}
	return chain
}

// stepKind says what a step does.
type stepKind int

const (
	stepSay     stepKind = iota // sends message
	stepAsk                     // sends ask's message and waits for the answer
	stepSet                     // sets variables
	stepUnless                  // goes to target unless condition is true
	stepJump                    // goes to target
	stepGoto                    // goes to dialog
	stepLocale                  // changes the conversation's locale
	stepOffload                 // hands the conversation over to a human, with set as its details
)

// step is one instruction of a dialog. Conditions are compiled to jumps, so
// that a place in a dialog is a number.
type step struct {
	kind      stepKind
	message   *message
	ask       *ask
	set       []assignment
	condition *expression
	target    int
	dialog    string
	locale    string
}

// message is a bot message before its templates are filled in.
type message struct {
	text    *text
	replies []*reply
	buttons []*button
	cards   []*card
	list    bool // cards are a list's items, not a carousel's
	medium  string
	url     *text // of the medium
}

// reply is a quick reply.
type reply struct {
	contentType string
	title       *text
	image       *text
	to          target
	when        *expression
}

// button is a button of a template.
type button struct {
	kind  string
	title *text
	url   *text
	phone *text
	to    target
	when  *expression
}

// target is what choosing a reply or a postback button does.
type target struct {
	dialog string
	set    []assignment
}

// card is a card of a carousel or a list's item.
type card struct {
	title    *text
	subtitle *text
	image    *text
	url      *text
	open     *text // the default action's URL
	buttons  []*button
	when     *expression
}
