// Package failing has a test that fails.
package failing

func yes() bool { return true }
