package flow

import (
	"math"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// defaultThreshold is the score that an example sentence must reach.
const defaultThreshold = 0.5

// maxPattern is how long a regular expression may be, in bytes.
const maxPattern = 1_000

// intent is something that a user may want, and how to tell.
type intent struct {
	name      string
	keywords  map[string][]string         // normalized; by locale, "" for all
	patterns  map[string][]*regexp.Regexp // likewise
	examples  map[string][]string         // likewise
	threshold float64
	anytime   bool
	when      *expression
	dialog    string
}

func (p *parsing) readIntents(f fields) {
	threshold := p.threshold(f.get("threshold"), defaultThreshold)
	for _, m := range p.optionalPairs(f.get("intents"), "intents") {
		p.def.intents = append(p.def.intents, p.readIntent(m, threshold))
	}
	p.def.index = map[string]*index{}
	for _, locale := range p.usedLocales() {
		sentences := make([][]string, len(p.def.intents))
		for i, in := range p.def.intents {
			sentences[i] = lists(in.examples, p.def.chain(locale))
		}
		p.def.index[locale] = newIndex(sentences)
	}
}

// usedLocales are those that the file lists and those that examples have.
func (p *parsing) usedLocales() []string {
	used := slices.Clone(p.def.locales)
	for _, in := range p.def.intents {
		for locale := range in.examples {
			if locale != "" && !slices.Contains(used, locale) {
				used = append(used, locale)
			}
		}
	}
	return used
}

// lists returns the list of the chain's first locale that has one, and the one
// for all locales.
func lists[T any](byLocale map[string][]T, chain []string) []T {
	for _, locale := range chain {
		if list, ok := byLocale[locale]; ok {
			return append(slices.Clone(list), byLocale[""]...)
		}
	}
	return byLocale[""]
}

func (p *parsing) threshold(n *yaml.Node, fallback float64) float64 {
	v := p.number(n, "threshold")
	if v == nil {
		return fallback
	}
	if *v <= 0 || *v > 1 {
		p.fail(n, "threshold must be above 0 and at most 1")
	}
	return *v
}

func (p *parsing) readIntent(m pair, threshold float64) *intent {
	in := &intent{name: m.key.Value}
	f := p.fields(m.value, "an intent", "keywords", "patterns", "examples", "threshold", "anytime", "when", "goto")
	in.threshold = p.threshold(f.get("threshold"), threshold)
	in.anytime = p.boolean(f.get("anytime"), "anytime")
	in.when = p.expression(f.get("when"), "when")
	in.keywords = map[string][]string{}
	p.localized(f.get("keywords"), "keywords", func(locale string, n *yaml.Node, s string) {
		if keyword := normalize(s); keyword != "  " {
			in.keywords[locale] = append(in.keywords[locale], keyword)
		} else {
			p.fail(n, "the keyword %q has no letter or digit: use a pattern", s)
		}
	})
	in.patterns = map[string][]*regexp.Regexp{}
	p.localized(f.get("patterns"), "patterns", func(locale string, n *yaml.Node, _ string) {
		if re := p.pattern(n); re != nil {
			in.patterns[locale] = append(in.patterns[locale], re)
		}
	})
	in.examples = map[string][]string{}
	p.localized(f.get("examples"), "examples", func(locale string, n *yaml.Node, s string) {
		if len(tokens(s)) == 0 || len(tokens(s)) > maxWords {
			p.fail(n, "an example must have 1 to %d words", maxWords)
		}
		in.examples[locale] = append(in.examples[locale], s)
	})
	if m.value.Kind == yaml.MappingNode {
		if len(in.keywords)+len(in.patterns)+len(in.examples) == 0 {
			p.fail(m.key, "the intent %s can't be recognised: give it keywords, patterns or examples", in.name)
		}
		if n := f.get("goto"); n != nil {
			in.dialog = p.dialog(n, "goto")
		} else {
			p.fail(m.key, "the intent %s leads nowhere: give it a goto", in.name)
		}
	}
	return in
}

// localized reads a list of texts, or a mapping of locales to lists.
func (p *parsing) localized(n *yaml.Node, what string, each func(locale string, n *yaml.Node, s string)) {
	if n == nil {
		return
	}
	read := func(locale string, list *yaml.Node) {
		if list.Kind == yaml.ScalarNode && !isNull(list) {
			each(locale, list, p.word(list, what))
			return
		}
		for _, item := range p.items(list, what) {
			if s := p.word(item, "one of the "+what); s != "" {
				each(locale, item, s)
			}
		}
	}
	if n.Kind != yaml.MappingNode {
		read("", n)
		return
	}
	for _, m := range p.pairs(n, what) {
		if locale := p.locale(m.key); locale != "" {
			read(locale, m.value)
		}
	}
}

// pattern reads a regular expression (RE2, case ignored).
func (p *parsing) pattern(n *yaml.Node) *regexp.Regexp {
	source := p.word(n, "the pattern")
	if source == "" {
		return nil
	}
	if len(source) > maxPattern {
		p.fail(n, "the pattern has %d bytes: make it at most %d", len(source), maxPattern)
		return nil
	}
	re, err := regexp.Compile("(?i)" + source)
	if err != nil {
		p.fail(n, "the pattern is wrong: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	for _, group := range re.SubexpNames() {
		if reserved(group) {
			p.fail(n, "the group %s has a meaning of its own as a variable: choose another name", group)
		}
	}
	return re
}

// match is an intent that was recognised.
type match struct {
	intent *intent
	score  float64
	set    map[string]string // what a pattern's named groups caught
}

// recognise returns the intent with the highest score; of equal ones the first
// in the file. A pattern scores 1; a keyword between 0.5 and 1, the more of the
// text it is the more; examples score what index says, if that reaches the
// intent's threshold.
func (d *Definition) recognise(s string, chain []string, only func(*intent) bool) (best match) {
	words := tokens(s)
	normal := " " + strings.Join(words, " ") + " "
	var scores []float64
	for _, locale := range chain {
		if x := d.index[locale]; x != nil {
			scores = x.scores(words, len(d.intents))
			break
		}
	}
	for i, in := range d.intents {
		found := match{intent: in}
		if groups, ok := matchPatterns(lists(in.patterns, chain), s); ok {
			found.score, found.set = 1, groups
		} else {
			found.score = matchKeywords(lists(in.keywords, chain), normal)
			if scores != nil && scores[i] >= in.threshold {
				found.score = max(found.score, scores[i])
			}
		}
		if found.score > best.score && only(in) {
			best = found
		}
	}
	return best
}

func matchPatterns(patterns []*regexp.Regexp, s string) (groups map[string]string, ok bool) {
	for _, re := range patterns {
		found := re.FindStringSubmatch(s)
		if found == nil {
			continue
		}
		groups = map[string]string{}
		for i, name := range re.SubexpNames() {
			if name != "" && found[i] != "" {
				groups[name] = found[i]
			}
		}
		return groups, true
	}
	return nil, false
}

// matchKeywords scores the longest keyword that stands in a normalized text.
func matchKeywords(keywords []string, normal string) float64 {
	longest := 0
	for _, k := range keywords {
		if len(k) > longest && strings.Contains(normal, k) {
			longest = len(k)
		}
	}
	if longest == 0 {
		return 0
	}
	share := float64(longest-2) / float64(len(normal)-2) // without the spaces around
	return math.Round((1+share)/2*1e4) / 1e4
}
