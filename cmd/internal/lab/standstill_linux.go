package lab

import "time"

// Standstill watches how long the machine, when it has other work too, lets this process
// stand still at worst, until the function that it returns is called. Limits of real time
// are held against that.
func Standstill() (worst func() time.Duration) {
	const nap = 10 * time.Millisecond
	stop, found := make(chan struct{}), make(chan time.Duration)
	go func() {
		var longest time.Duration
		for over := false; !over; {
			slept := time.Now()
			select {
			case <-stop:
				over = true
			case <-time.After(nap):
			}
			longest = max(longest, time.Since(slept)-nap)
		}
		found <- longest
	}()
	return func() time.Duration {
		close(stop)
		return <-found
	}
}
