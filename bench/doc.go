// Command bench measures how parti places partitions: beside public libraries
// (compare), against the goals of its design (goals), and how a whole fleet
// grows (scale, which draws what "parti bench scale" has measured).
//
// It is a module of its own, so that what it compares with, and what draws its
// charts, weighs on nobody who uses parti.
package main
