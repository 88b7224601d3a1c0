// Package guidecheck holds the documents to the code, by tests only: what the
// guide shows compiles and runs, what it lists is there, and what its first
// edition printed goes on compiling.
package guidecheck
