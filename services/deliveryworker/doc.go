// Package deliveryworker sends bot messages to the endpoints of their channel
// and judges the answers.
package deliveryworker
