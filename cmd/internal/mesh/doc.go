// Package mesh is what a gateway does with the table of nexus: it keeps it up to date
// and saved, decides from it which peers and routes there are to be, and tells a
// second start of the program to the first one.
//
//	nexus <── registry.Client ── Follower ──> NewPlan ──> links and routes
//	              table saved ──┘   ↑  ↑
//	      nudge, check on the port ─┘  └─ "register" on the control socket
package mesh
