package main

import (
	"flag"
	"time"
)

var (
	thorough = flag.Bool("thorough", false, "run the long form of the tests that have one")
	soakTime = flag.Duration("soak", 20*time.Second, "how long TestSoak runs")
)
