package flow

import (
	"math"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// tokens splits a text into words, without case and diacritics: "Één Pizza's!"
// is een, pizza, s.
func tokens(s string) []string {
	decomposed := norm.NFKD.String(s)
	bare := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, decomposed)
	return strings.FieldsFunc(cases.Fold().String(bare), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// normalize is the words with single spaces between and around them, so that a
// phrase is found by strings.Contains.
func normalize(s string) string { return " " + strings.Join(tokens(s), " ") + " " }

// index scores a text against the example sentences of one locale: the cosine
// of two sentences' sets of words, each word weighed by how rare it is among
// the examples (ln(1 + N/n) for a word of n of N examples; a word of none
// weighs as one of a single example). 1 is a sentence of the same words, 0 one
// without a word in common.
type index struct {
	examples []example
	weights  map[string]float64
	unknown  float64 // weight of a word that no example has
}

type example struct {
	intent int // place in Definition.intents
	words  map[string]bool
	norm   float64
}

// newIndex takes the example sentences of each intent.
func newIndex(sentences [][]string) *index {
	x := &index{weights: map[string]float64{}}
	for i, list := range sentences {
		for _, s := range list {
			words := map[string]bool{}
			for _, w := range tokens(s) {
				words[w] = true
			}
			x.examples = append(x.examples, example{intent: i, words: words})
			for w := range words {
				x.weights[w]++ // how many examples have it, at first
			}
		}
	}
	n := float64(len(x.examples))
	for w, count := range x.weights {
		x.weights[w] = math.Log(1 + n/count)
	}
	x.unknown = math.Log(1 + n)
	for i := range x.examples {
		x.examples[i].norm = x.norm(sorted(x.examples[i].words))
	}
	return x
}

func sorted(words map[string]bool) []string {
	list := make([]string, 0, len(words))
	for w := range words {
		list = append(list, w)
	}
	slices.Sort(list) // sums of floats depend on the order
	return list
}

func (x *index) weight(word string) float64 {
	if w, ok := x.weights[word]; ok {
		return w
	}
	return x.unknown
}

func (x *index) norm(words []string) float64 {
	sum := 0.0
	for _, w := range words {
		sum += x.weight(w) * x.weight(w)
	}
	return math.Sqrt(sum)
}

// scores returns each of n intents' score: that of its best example.
func (x *index) scores(words []string, n int) []float64 {
	scores := make([]float64, n)
	if len(words) == 0 || len(words) > maxWords {
		return scores
	}
	unique := slices.Compact(slices.Sorted(slices.Values(words)))
	length := x.norm(unique)
	for _, ex := range x.examples {
		dot := 0.0
		for _, w := range unique {
			if ex.words[w] {
				dot += x.weight(w) * x.weight(w)
			}
		}
		if dot > 0 {
			score := math.Round(dot/(length*ex.norm)*1e4) / 1e4
			scores[ex.intent] = max(scores[ex.intent], min(score, 1))
		}
	}
	return scores
}

// maxWords is how many words a text may have to be compared with examples.
const maxWords = 200
