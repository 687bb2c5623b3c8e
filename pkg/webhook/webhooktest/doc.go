// Package webhooktest is a customer's endpoint for tests: it records every POST
// in the order of arrival, checks its signature, and answers as its script
// says, also as endpoints do that misbehave.
//
//	r := webhooktest.New(t, webhooktest.WithSecrets(secret), webhooktest.WithSteps(
//		webhooktest.Step{Reply: webhooktest.Reply{Status: 503, RetryAfter: 2 * time.Second}, Times: 3},
//		webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.ResetInBody}},
//		webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.Hang}, Conversation: "anna"},
//	)) // and 200 from then on
//	… post to r.URL() …
//	got, err := r.Wait(ctx, 5)
//	require.NoError(t, got[0].SignatureErr)
//
// The same steps are read from a file by [ParsePlan]; `parley listen --script`
// serves them.
//
// Every connection and goroutine ends with [Receiver.Close], which New leaves to
// the test's end.
package webhooktest
