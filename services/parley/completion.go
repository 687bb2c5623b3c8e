package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/services/ops"
)

// completionTimeout bounds the question to the ops API: somebody waits at a
// prompt.
const completionTimeout = time.Second

// collections are where the ids stand that a group's commands take, and flags.
var collections = map[string]string{
	"bot": "/bots", "channel": "/channels", "endpoint": "/endpoints", "replay": "/replays", "token": "/tokens",
}

// fileFlags name files in their placeholder; other flags take none.
var fileFlags = []string{"FILE", "DIRECTORY"}

// addCompletion says what the shell may complete: the values of flags that take
// one of a few, and the ids that the ops API has.
func addCompletion(root *cobra.Command, b *binder, client *clientConfig) {
	walk(root, func(c *cobra.Command) {
		remote := c.InheritedFlags().Lookup("ops-url") != nil || c.PersistentFlags().Lookup("ops-url") != nil
		if group := c.Parent(); group != nil && remote && c.Name() != "create" && strings.Contains(c.Use, " ID") {
			c.ValidArgsFunction = completeIDs(b, client, collections[group.Name()], true)
		} else if c.ValidArgsFunction == nil && c.HasParent() && !strings.Contains(c.Use, "FILE") {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if complete := completeFlag(f, b, client, remote); complete != nil {
				// The error would say that it has one already: a flag of the parent's.
				_ = c.RegisterFlagCompletionFunc(f.Name, complete)
			}
		})
	})
}

// completeFlag is nil where the shell's own completion, of files, will do.
func completeFlag(f *pflag.Flag, b *binder, client *clientConfig, remote bool) cobra.CompletionFunc {
	if values := f.Annotations[valuesAnnotation]; len(values) > 0 {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	if path := collections[f.Name]; path != "" && remote {
		return completeIDs(b, client, path, false)
	}
	if placeholder, _ := pflag.UnquoteUsage(f); slices.Contains(fileFlags, placeholder) {
		return nil
	}
	return cobra.NoFileCompletions
}

// completeIDs offers the ids of a collection; none where the API can't be asked.
// With once only the first argument is one.
func completeIDs(b *binder, client *clientConfig, path string, once bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if path == "" || once && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		quiet := &binder{environ: b.environ, readFile: b.readFile, warnings: io.Discard}
		if err := quiet.bind(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		o, err := client.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		var list ops.List[struct {
			ID string `json:"id"`
		}]
		if _, err := o.do(ctx, opsCall{method: http.MethodGet, path: path}, &list); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var ids []string
		for _, item := range list.Items {
			if strings.HasPrefix(item.ID, start) {
				ids = append(ids, item.ID)
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
