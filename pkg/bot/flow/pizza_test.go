package flow_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/chat"
)

const pizza = "../../../deploy/samples/pizza.yaml"

func TestPizzaHasNoWarnings(t *testing.T) {
	source, err := os.ReadFile(pizza)
	require.NoError(t, err)
	def, err := flow.Parse("pizza.yaml", source)
	require.NoError(t, err)
	require.Empty(t, def.Warnings())
	require.Equal(t, "Pizzeria Parley", def.Name())
	require.Contains(t, def.Dialogs(), "welcome")
}

func TestPizzaInEnglish(t *testing.T) {
	c := playFile(t, pizza)
	c.session.User = map[string]any{"firstName": "Ada"}
	require.Equal(t, []string{"Welcome to Pizzeria Parley, Ada!", "What can I do for you? [Order a pizza] [Opening hours] [Nederlands]"}, c.intro())
	require.Equal(t, []string{"We are open every day from 16:00 to 23:00."}, c.say("Hello there, when are you open today?"))
	require.Equal(t, "hours", c.last.Outputs[0].NLP.Intent.Name)
	require.Less(t, c.last.Outputs[0].NLP.Intent.Score, 1.0)
	require.Equal(t, []string{"Sorry, I didn't get that. You can order a pizza or ask for our opening hours. [Order a pizza] [Opening hours]"}, c.say("qwerty"))
	require.Nil(t, c.last.Outputs[0].NLP)
	menu := c.choose("Order a pizza")
	require.Equal(t, "Here is our menu:", menu[0])
	require.Contains(t, menu[1], "generic (Margherita: Tomato, mozzarella and basil. € 9.50)(Funghi:")
	require.Equal(t, []string{"button A Funghi, good choice! Which size? <Medium> <Large (+ 40 %)>"}, c.chooseOn("Funghi", "Choose"))
	require.Equal(t, []string{"How many would you like? [1] [2] [4]"}, c.choose("Large (+ 40 %)"))
	require.Equal(t, []string{"We bake 1 to 20 pizzas at a time. How many would you like? [1] [2] [4]"}, c.say("a lot"))
	require.Equal(t, []string{"Where shall we bring it? (street and number)"}, c.choose("2"))
	require.Equal(t, []string{"I need the street and the number, such as Dam 1."}, c.say("at home"))
	require.Equal(t, []string{"To which e-mail address may we send the receipt?"}, c.say("Dam 1"))
	require.Equal(t, []string{"That isn't an e-mail address. It looks like you@example.com."}, c.say("ada at example"))
	require.Equal(t, []string{
		"This is your order:",
		"list (2 × Funghi: Large)(Delivery: Dam 1)(Total: € 30.80)",
		"Shall I place the order? [Yes, please] [No, start again]",
	}, c.say("ada@example.com"))
	require.Equal(t, "https://pizzeria.example/images/funghi.jpg", c.last.Outputs[1].Message.Attachment.Payload.Elements[0].ImageURL)
	require.Equal(t, []string{"Please say yes or no. [Yes, please] [No, start again]"}, c.say("maybe"))
	require.Equal(t, []string{
		"image https://pizzeria.example/images/oven.gif",
		"button Thank you! Your Funghi is in the oven, the receipt goes to ada@example.com. <Follow your order> <Call us> <Order again>",
	}, c.say("Sure!"))
	buttons := c.last.Outputs[1].Message.Attachment.Payload.Buttons
	require.Equal(t, "https://pizzeria.example/orders?for=ada%40example.com", buttons[0].URL)
	require.Equal(t, chat.Button{Type: "phone_number", Title: "Call us", Payload: "+31 20 123 4567"}, buttons[1])
	require.Empty(t, c.warnings)
}

func TestPizzaInDutch(t *testing.T) {
	c := playFile(t, pizza)
	c.session.Locale = "nl-BE"
	require.Equal(t, []string{"Welkom bij Pizzeria Parley!", "Wat kan ik voor je doen? [Pizza bestellen] [Openingstijden] [English]"}, c.intro())
	require.Equal(t, []string{"We zijn elke dag open van 16.00 tot 23.00 uur."}, c.choose("Openingstijden"))
	require.Equal(t, "Hier is onze kaart:", c.say("Ik heb honger!")[0])
	require.InDelta(t, 1, c.last.Outputs[0].NLP.Intent.Score, 0)
	require.Equal(t, []string{"button Een Diavola, goede keus! Welke maat? <Normaal> <Groot (+ 40 %)>"}, c.say("doe maar een DIAVOLA"))
	require.Equal(t, []string{"Hoeveel wil je er? [1] [2] [4]"}, c.choose("Normaal"))
	require.Equal(t, []string{"We bakken 1 tot 20 pizza's tegelijk. Hoeveel wil je er? [1] [2] [4]"}, c.say("0"))
	require.Equal(t, []string{"Dat wordt een feest! Je krijgt 10 % korting.", "Waar mogen we het brengen? (straat en nummer)"}, c.say("12"))
	require.Equal(t, []string{"Naar welk e-mailadres mogen we de bon sturen?"}, c.say("Grote Markt 7b"))
	require.Equal(t, "list (12 × Diavola: Normaal)(Bezorging: Grote Markt 7b)(Totaal: € 129,60)", c.say("an@example.be")[1])
	require.Equal(t, "Hier is onze kaart:", c.choose("Nee, opnieuw")[0])
	require.Equal(t, []string{"button Een Margherita, goede keus! Welke maat? <Normaal> <Groot (+ 40 %)>"}, c.chooseOn("Margherita", "Kies"))
	c.choose("Normaal")
	require.Equal(t, []string{"Ik heb het geannuleerd. Kom terug als je honger hebt!"}, c.say("annuleren maar"))
	require.Equal(t, "cancel", c.last.Outputs[0].NLP.Intent.Name)
	require.Empty(t, c.warnings)
}

func TestPizzaElsewhere(t *testing.T) {
	c := playFile(t, pizza)
	c.intro()
	require.Equal(t, "Welkom bij Pizzeria Parley!", c.choose("Nederlands")[0])
	require.Equal(t, "nl", c.session.Locale)
	require.Equal(t, []string{"Mooie foto! Dat ziet er lekker uit."}, show(c.turn(chat.InputFile, chat.FileInput{URLs: []string{"https://a.b/c"}})))
	require.Equal(t, []string{"Dank je, je bent op 52.373, 4.893. Daar bezorgen we!"}, show(c.turn(chat.InputLocation, chat.LocationInput{Lat: 52.373, Long: 4.893})))
	c.say("asdf")
	c.say("asdf")
	require.Equal(t, []string{"button Een collega kan je beter helpen. <Bel ons> <Opnieuw beginnen>"}, c.say("asdf"))
}
