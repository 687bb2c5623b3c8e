// Package deliveryworker is the delivery stage: it fans each bot message out
// to the endpoints of its channel and posts it, in the order of each
// conversation, until the endpoint confirms it.
//
// Every endpoint has its own lane of a conversation, so one that fails holds
// back nothing but its own. What an answer means is decided by [webhook.Judge]. An
// endpoint that answers 410 is disabled; what waits for it stays parked until
// it is enabled again. What waits for an endpoint that is removed becomes a
// dead letter.
package deliveryworker
