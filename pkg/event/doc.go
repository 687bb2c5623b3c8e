// Package event tells a channel's endpoints of what goes wrong: a message that
// was given up, an endpoint that fails, is disabled or recovers.
//
// An event takes the way of a bot message, through the work queue of the
// delivery stage, in lanes of its own: the endpoint that it is about stands for
// the conversation, so that events about one endpoint come in order. It is made
// only where an endpoint of the channel asks for it.
//
// Raising never blocks and never fails: events wait in memory until the broker
// has them, at most so many; what is beyond is dropped, counted and logged. So
// an event can be lost, with a process that is killed or while the broker is
// away for long; what it tells of is in the journal and among the dead letters.
// An event whose cause is a message has the same id whenever it is raised.
package event
