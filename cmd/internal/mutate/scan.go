package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// scanner finds the places of a function that can be changed. Whatever changes
// truth values evaluates them first, so that an effect of a condition stays.
type scanner struct {
	*writer
	results *ast.FieldList // of the innermost function
	fixed   []ast.Node     // statements that are no statements of a block
}

// Visit is called for each node, from the outside to the inside.
func (s scanner) Visit(n ast.Node) ast.Visitor {
	if n == nil || slices.Contains(s.fixed, n) {
		return s
	}
	switch n := n.(type) {
	case *ast.FuncLit:
		s.results = n.Type.Results
	case *ast.IfStmt:
		s.fixed = append(s.fixed[:len(s.fixed):len(s.fixed)], n.Init)
		s.condition("if", n.Cond, n.Body.List)
	case *ast.ForStmt:
		s.fixed = append(s.fixed[:len(s.fixed):len(s.fixed)], n.Init, n.Post)
		if n.Cond != nil {
			s.wrap(n.Cond, "((", ") != "+s.mutant("for "+s.text(n.Cond)+" negated")+")")
		}
	case *ast.SwitchStmt:
		s.fixed = append(s.fixed[:len(s.fixed):len(s.fixed)], n.Init)
		s.cases(n)
	case *ast.TypeSwitchStmt:
		s.fixed = append(s.fixed[:len(s.fixed):len(s.fixed)], n.Init, n.Assign)
	case *ast.CommClause:
		s.fixed = append(s.fixed[:len(s.fixed):len(s.fixed)], n.Comm)
	case *ast.BinaryExpr:
		s.binary(n)
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && s.text(call.Fun) != "panic" {
			s.remove(n)
		}
	case *ast.DeferStmt:
		s.remove(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE && lasting(n.Lhs...) {
			s.remove(n)
		}
	case *ast.IncDecStmt:
		if lasting(n.X) {
			s.remove(n)
		}
	case *ast.ReturnStmt:
		s.returned(n)
	}
	return s
}

// lasting reports whether an assignment outlives the function's variables.
func lasting(to ...ast.Expr) bool {
	for _, e := range to {
		if _, local := e.(*ast.Ident); local {
			return false
		}
	}
	return true
}

// condition changes one that guards a body. Where the body leaves, always true
// would be little else than negated: what is honest is refused.
func (s scanner) condition(keyword string, c ast.Expr, body []ast.Stmt) {
	name := keyword + " " + s.text(c)
	after := ") != " + s.mutant(name+" negated") + " && !" + s.mutant(name+" never")
	if !leaves(body) {
		after += " || " + s.mutant(name+" always")
	}
	s.wrap(c, "((", after+")")
}

// leaves reports whether the statements end in a return, break or continue.
func leaves(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	switch body[len(body)-1].(type) {
	case *ast.ReturnStmt, *ast.BranchStmt:
		return true
	}
	return false
}

// cases takes the conditions of a switch one by one. With a tag they are values,
// which can only be taken away: a switch without them stands before the switch.
func (s scanner) cases(n *ast.SwitchStmt) {
	var before strings.Builder
	without := func(from, to token.Pos, change string) {
		fmt.Fprintf(&before, "if %s { %s%s } else ", s.mutant(change), s.between(n.Pos(), from), s.between(to, n.End()))
	}
	for _, clause := range n.Body.List {
		c := clause.(*ast.CaseClause)
		if n.Tag == nil {
			for _, e := range c.List {
				s.condition("case", e, c.Body)
			}
			continue
		}
		if c.List == nil {
			continue // a function may end with the default
		}
		head := s.between(c.Pos(), c.Colon)
		without(c.Pos(), c.End(), head+" removed")
		for i, e := range c.List {
			switch {
			case len(c.List) == 1:
			case i == 0:
				without(e.Pos(), c.List[1].Pos(), head+" without "+s.text(e))
			default:
				without(c.List[i-1].End(), e.End(), head+" without "+s.text(e))
			}
		}
	}
	if before.Len() > 0 {
		s.wrap(n, before.String()+"{ ", " }")
	}
}

func (s scanner) binary(n *ast.BinaryExpr) {
	x, y, op := s.text(n.X), s.text(n.Y), n.Op.String()
	switch n.Op {
	case token.LAND:
		s.wrap(n.X, "((", ") || "+s.mutant(x+" always, before && "+y)+")")
		s.wrap(n.Y, "((", ") || "+s.mutant(y+" always, after "+x+" &&")+")")
	case token.LOR:
		s.wrap(n.X, "((", ") && !"+s.mutant(x+" never, before || "+y)+")")
		s.wrap(n.Y, "((", ") && !"+s.mutant(y+" never, after "+x+" ||")+")")
	case token.LSS, token.GTR:
		s.wrap(n, "(", " || "+s.mutant(s.text(n)+" with "+op+"=")+" && "+x+" == "+y+")")
	case token.LEQ, token.GEQ:
		s.wrap(n, "(", " && !("+s.mutant(s.text(n)+" with "+op[:1])+" && "+x+" == "+y+"))")
	}
}

func (s scanner) remove(n ast.Node) {
	s.wrap(n, "if !"+s.mutant(s.text(n)+" removed")+" { ", " }")
}

// returned turns truth values round and errors into none.
func (s scanner) returned(n *ast.ReturnStmt) {
	types := resultTypes(s.results)
	if len(types) != len(n.Results) {
		return // none, or all from one call
	}
	for i, e := range n.Results {
		switch {
		case types[i] == "bool":
			s.wrap(e, "((", ") != "+s.mutant(s.text(n)+which(types, i)+" negated")+")")
		case types[i] == "error" && s.text(e) != "nil":
			s.wrap(e, "mutantError("+s.mutant(s.text(n)+which(types, i)+" without error")+", ", ")")
		}
	}
}

// which tells the results of a function apart if more than one is of a type.
func which(types []string, i int) string {
	for j := range types {
		if j != i && types[j] == types[i] {
			return fmt.Sprintf(", result %d", i+1)
		}
	}
	return ""
}

// resultTypes returns the names of a function's result types, "" for those that
// are more than a name.
func resultTypes(results *ast.FieldList) []string {
	var types []string
	if results == nil {
		return nil
	}
	for _, f := range results.List {
		name := ""
		if id, ok := f.Type.(*ast.Ident); ok {
			name = id.Name
		}
		for range max(1, len(f.Names)) {
			types = append(types, name)
		}
	}
	return types
}
