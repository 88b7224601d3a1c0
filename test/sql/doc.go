// Package sqltest tests source.NewSQL on real databases. It is a module of its
// own, so that their drivers stay out of users' go.sum.
package sqltest
