// Package tutorial runs docs/tutorial.md: each command of the page, in its order,
// with the real binary, and compares what is printed with what the page shows.
//
// The page's code blocks say by their info strings what they are:
//
//	sh              is run, once, and must succeed
//	sh wait         is run again until it prints what the page shows
//	sh terminal=X   runs in a terminal of its own until that gets another command
//	text            is what the block before must print
//	text terminal=X is what the terminal must print next
//	LANG file=NAME  is a file that the reader saves
//	console         is not run: it installs
package tutorial
