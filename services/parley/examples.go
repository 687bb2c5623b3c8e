package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples are command lines by command, for those that take arguments and say
// nothing longer about themselves.
var examples = map[string][]string{
	"bot check":              {"parley bot check pizza.yaml"},
	"bot create":             {"parley bot create pizza --file pizza.yaml", "parley bot create helpdesk --kind http --url https://bot.example.com/turns"},
	"bot delete":             {"parley bot delete pizza"},
	"bot pause":              {"parley bot pause pizza"},
	"bot resume":             {"parley bot resume pizza"},
	"bot rotate-secret":      {"parley bot rotate-secret helpdesk --overlap 1h"},
	"bot show":               {"parley bot show pizza"},
	"bot update":             {"parley bot update pizza --file pizza.yaml"},
	"channel create":         {"parley channel create shop --bot pizza"},
	"channel delete":         {"parley channel delete shop"},
	"channel pause":          {"parley channel pause shop"},
	"channel resume":         {"parley channel resume shop"},
	"channel show":           {"parley channel show shop"},
	"channel update":         {"parley channel update shop --rate-limit 100/s:200"},
	"conversation erase":     {"parley conversation erase shop anna"},
	"conversation show":      {"parley conversation show shop anna --since 24h"},
	"dead discard":           {"parley dead discard --endpoint crm --why \"the customer has them\" --dry-run"},
	"dead replay":            {"parley dead replay --endpoint crm --since 24h --rate 50 --wait"},
	"dead show":              {"parley dead show 01KB9Z6T5YV7Q4W2M8N3R1C0XJ"},
	"endpoint create":        {"parley endpoint create crm --channel shop --url https://crm.example.com/parley"},
	"endpoint delete":        {"parley endpoint delete crm"},
	"endpoint disable":       {"parley endpoint disable crm --reason \"moves to another host\""},
	"endpoint enable":        {"parley endpoint enable crm"},
	"endpoint pause":         {"parley endpoint pause crm"},
	"endpoint resume":        {"parley endpoint resume crm"},
	"endpoint rotate-secret": {"parley endpoint rotate-secret crm --overlap 48h"},
	"endpoint show":          {"parley endpoint show crm"},
	"endpoint test":          {"parley endpoint test crm"},
	"endpoint update":        {"parley endpoint update crm --rate-limit 10/s:20"},
	"lane discard":           {"parley lane discard --endpoint crm"},
	"lane retry-now":         {"parley lane retry-now --endpoint crm"},
	"lane show":              {"parley lane show bot.crm.b804549467028de536181489ab2b1e00"},
	"lane skip":              {"parley lane skip --endpoint crm"},
	"replay cancel":          {"parley replay cancel 7"},
	"replay delivered":       {"parley replay delivered --endpoint crm --since 24h --dry-run"},
	"replay pause":           {"parley replay pause 7"},
	"replay resume":          {"parley replay resume 7"},
	"replay show":            {"parley replay show 7"},
	"token create":           {"parley token create --channel shop --name \"the shop's server\"", "parley token create --ops --name anna"},
	"token delete":           {"parley token delete 4f1c"},
	"trace":                  {"parley trace 01KB9Z6T5YV7Q4W2M8N3R1C0XJ"},
}

// addExamples gives commands their examples.
func addExamples(root *cobra.Command) {
	walk(root, func(c *cobra.Command) {
		lines := examples[strings.TrimPrefix(c.CommandPath(), root.Name()+" ")]
		if c.Example == "" && len(lines) > 0 {
			c.Example = "  " + strings.Join(lines, "\n  ")
		}
	})
}

// walk visits a command and all below it.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, child := range c.Commands() {
		walk(child, visit)
	}
}
