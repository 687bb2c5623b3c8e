// Package samples holds the sample bots, embedded, so that the binary has them
// wherever it is.
package samples

import _ "embed" // for the files

//go:embed pizza.yaml
var pizza []byte

// Pizza returns the YAML of the flow bot that takes orders for a pizzeria.
func Pizza() []byte { return append([]byte(nil), pizza...) }
