package failing

import "testing"

func TestNo(t *testing.T) {
	if yes() {
		t.Error("it is not no")
	}
}
