// Package flow is the bot that is written as a YAML file: dialogs of steps,
// intents that lead to them, questions whose answers are checked. docs/bots.md
// describes the file.
//
// [Parse] reads a file and compiles everything in it (templates, expressions,
// regular expressions, the index of example sentences); it reports all errors
// at once, each with its line and column. A [Definition] never changes
// afterwards, so one bot answers any number of conversations concurrently.
//
// A bot keeps nothing between turns. Where a conversation stands is in
// bot.Session.Dialog, as JSON; a state that doesn't fit the file any more (the
// file was changed meanwhile) counts as no state. The same turn with the same
// session has the same answer: nothing here knows the time or chance.
//
// A turn never fails for what an author wrote: an expression that can't be
// evaluated counts as nothing (as false in a condition), a message that comes
// out invalid is left out, a loop is cut after [MaxSteps] steps; each of these
// is in the answer's warnings.
package flow
