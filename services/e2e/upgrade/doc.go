// Package upgrade rolls the processes of a running system from one version of
// parley to another and back, on the same stores and under load: from the commit
// before this one, or from the one that PARLEY_UPGRADE_FROM names, to this one.
// See docs/upgrading.md.
package upgrade
