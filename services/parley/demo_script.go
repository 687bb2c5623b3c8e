package main

// pizzaScript is the demo's conversation with the sample bot of
// deploy/samples/pizza.yaml: it uses texts, quick replies, buttons, a carousel
// and a list, and gives two answers that the bot doesn't take.
func pizzaScript() []demoTurn {
	return []demoTurn{
		{Say: "hello", Answers: 2},
		{Choose: "Opening hours", Answers: 1},
		{Say: "I would like a pizza please", Answers: 2},
		{Choose: "Choose", Card: "Funghi", Answers: 1},
		{Choose: "Large (+ 40 %)", Answers: 1},
		{Say: "forty", Answers: 1},
		{Choose: "2", Answers: 1},
		{Say: "Dam 1", Answers: 1},
		{Say: "anna at home", Answers: 1},
		{Say: "anna@example.com", Answers: 3},
		{Choose: "Yes, please", Answers: 2},
	}
}
