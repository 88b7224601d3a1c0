/*
 * The handoff of partitions between workers, for spin: see README.md for what is
 * modelled and what is left out, and `make model` for how to run it.
 *
 * Names are those of internal/core. A worker is its number, an incarnation is
 * the worker and its life (1, and 2 after the restart). One step of the model is
 * one step of a core, or one write that arrives in the store. A step may be taken
 * at any time after it has become possible: that is how slow workers, pauses,
 * late watches and late heartbeats come in.
 *
 * Every BAD_... plants one bug, which spin must find.
 */

#define WORKERS 3
#define PARTITIONS 2
#define NOBODY WORKERS /* no worker, and no seat */
#define NOSEAT 0       /* instead of an incarnation */

#ifndef PLANS
#define PLANS 2        /* plans that move partitions although nobody died */
#endif
#ifndef CHANGES
#define CHANGES 1      /* campaigns: against a leader that lives, or after its death */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

/* What the head names (headRecord, payloads and drain lists), and what a leader
 * makes of it (table.go). Payloads and drain lists are written once, under a key
 * with the term, and the head has their digests: they are as good as part of it. */
typedef Table {
	byte rev;                /* of the head that this goes on from; of the head: its own */
	byte term;
	byte version;
	byte inc[WORKERS];       /* seats: the incarnation that the grants are for */
	byte owner[PARTITIONS];  /* who is granted it */
	byte next[PARTITIONS];   /* who is to have it; the owner while nothing moves */
	byte holder[PARTITIONS]; /* who may still work on it, though it is not granted */
	byte hinc[PARTITIONS];   /* that holder's incarnation */
	byte rterm[PARTITIONS];  /* released when the holder has applied this */
	byte rver[PARTITIONS]
}

mtype = { follower, takesTerm, leads }; /* campaign, in elect.go */

Table head;               /* in the store */
byte wrote;               /* who wrote it */

/* A worker. */
bool alive[WORKERS];
byte life[WORKERS];       /* its incarnation */
byte want[WORKERS];       /* a set of partitions: what it has obeyed (adopt.owned) */
byte works[WORKERS];      /* what it may be working on: that, and what it has not let go of yet */
byte aterm[WORKERS];      /* applied, as its heartbeat says */
byte aver[WORKERS];
byte sterm[WORKERS];      /* the head being applied, while something is given up */
byte sver[WORKERS];

/* Its leadership. */
mtype phase[WORKERS];
Table lead[WORKERS];
bool writing[WORKERS];    /* a write of the head is on its way; lead[w] is what it says.
                             It outlives its leader. */

hidden byte i, k;         /* of loops within one step */

/* The invariants of docs/design/invariants.md, so that spin names the one that is broken. */
hidden byte I1, I3, I4, I8;
#define must(name, holds) name = (holds); assert(name)

byte plans = PLANS, changes = CHANGES, crashes = CRASHES;
bool restarts;            /* whoever crashed comes back */

#define bit(p) (1 << (p))

/* An incarnation that has ended. Whoever knows this knows it from silence, from
 * probes, or from the heartbeat of the next one. */
#define gone(w, i) (!alive[w] || life[w] != (i))

#define less(t1, v1, t2, v2) ((t1) < (t2) || ((t1) == (t2) && (v1) < (v2)))

/* released, in handoff.go: whether the holder of p has let go. */
#ifdef BAD_NO_ACK
#define acknowledged(t, p) true
#else
#define acknowledged(t, p) \
	(life[t.holder[p]] == t.hinc[p] && \
	 !less(aterm[t.holder[p]], aver[t.holder[p]], t.rterm[p], t.rver[p]))
#endif
#ifdef BAD_NO_DEATH
#define released(t, p) (t.holder[p] != NOBODY && acknowledged(t, p))
#else
#define released(t, p) \
	(t.holder[p] != NOBODY && (gone(t.holder[p], t.hinc[p]) || acknowledged(t, p)))
#endif

/* anyReady, in table.go: p waits for nobody any more. */
#define ready(t, p) \
	(t.owner[p] == NOBODY && t.next[p] != NOBODY && t.holder[p] == NOBODY && t.inc[t.next[p]] != NOSEAT)

#define leading(w) (alive[w] && phase[w] == leads && !writing[w])
#define later(w, x) (alive[x] && phase[x] != follower && lead[x].term > lead[w].term)
#define replaceable(w) (changes > 0 || later(w, 0) || later(w, 1) || later(w, 2))

inline forgetHolder(t, p) {
	t.holder[p] = NOBODY; t.hinc[p] = NOSEAT; t.rterm[p] = 0; t.rver[p] = 0
}

/* copy makes to what from is. */
inline copy(to, from) {
	to.rev = from.rev; to.term = from.term; to.version = from.version;
	for (i : 0 .. WORKERS-1) { to.inc[i] = from.inc[i] }
	for (i : 0 .. PARTITIONS-1) {
		to.owner[i] = from.owner[i]; to.next[i] = from.next[i];
		to.holder[i] = from.holder[i]; to.hinc[i] = from.hinc[i];
		to.rterm[i] = from.rterm[i]; to.rver[i] = from.rver[i]
	}
	i = 0
}

inline forgetTable(t) {
	t.version = 0;
	for (i : 0 .. WORKERS-1) { t.inc[i] = NOSEAT }
	for (i : 0 .. PARTITIONS-1) {
		t.owner[i] = NOBODY; t.next[i] = NOBODY;
		forgetHolder(t, i)
	}
	i = 0
}

/* dropLeader, in rebalance.go: the table is forgotten. */
inline dropLeader(w) {
	phase[w] = follower;
	if
	:: writing[w] /* what is on its way still arrives */
	:: else -> lead[w].rev = 0; lead[w].term = 0; forgetTable(lead[w])
	fi
}

/* ---- A worker obeys: adopt.go ---- */

#define granted(w) \
	(head.inc[w] == life[w] -> (head.owner[0] == w) + 2 * (head.owner[1] == w) : 0)

/* What a head says that changes nothing for a worker, and that nobody waits for,
 * need not be seen. */
#define awaited(w, p) \
	(head.holder[p] == w && head.hinc[p] == life[w] && \
	 less(aterm[w], aver[w], head.rterm[p], head.rver[p]) && \
	 less(sterm[w], sver[w], head.rterm[p], head.rver[p]))
#define news(w) (alive[w] && (granted(w) != want[w] || awaited(w, 0) || awaited(w, 1)))

/* sawHead and obey. What is gained is begun at once, what is given up is worked
 * on until applied: nobody could overlap more. */
inline sawHead(w) {
	want[w] = granted(w);
	for (i : 0 .. WORKERS-1) {
		/* it begins, and another one still works on it */
		must(I1, i == w || (works[i] & want[w] & ~works[w]) == 0)
	}
	i = 0;
	works[w] = works[w] | want[w];
	sterm[w] = head.term; sver[w] = head.version;
#ifdef BAD_EARLY_ACK
	aterm[w] = sterm[w]; aver[w] = sver[w];
#endif
	if
	:: works[w] != want[w] /* something is given up */
	:: else -> onApplied(w)
	fi
}

/* onApplied: the updater, the calls of Run and the hook have returned, and the
 * heartbeat says so. */
inline onApplied(w) {
	works[w] = want[w];
	aterm[w] = sterm[w]; aver[w] = sver[w];
	sterm[w] = 0; sver[w] = 0
}

/* ---- A worker leads: elect.go, load.go, handoff.go, rebalance.go ---- */

/* campaignHead and takeTerm: read the head, write it under the next term. */
inline campaign(w) {
	copy(lead[w], head);
	lead[w].term = head.term + 1;
	phase[w] = takesTerm; writing[w] = true
}

/* load: the table is what the head names. */
inline load(w) {
	phase[w] = leads;
#ifdef BAD_DRAINS_LOST
	for (i : 0 .. PARTITIONS-1) { forgetHolder(lead[w], i) }
	i = 0
#endif
}

/* startCommit, in commit.go. It takes along what is ready (grantReady): in no
 * list, it would be lost. */
inline startCommit(w) {
	lead[w].version++;
#ifndef BAD_GRANTS_LATER
	grantReady(w);
#endif
	writing[w] = true
}

inline grantReady(w) {
	for (i : 0 .. PARTITIONS-1) {
		if
		:: ready(lead[w], i) -> lead[w].owner[i] = lead[w].next[i]
		:: else
		fi
	}
	i = 0
}

/* releaseHolders, in handoff.go: some of those who have let go are known to have. */
inline releaseHolders(w) {
	if
	:: released(lead[w], 0) -> forgetHolder(lead[w], 0)
	:: true
	fi;
	if
	:: released(lead[w], 1) -> forgetHolder(lead[w], 1)
	:: true
	fi
}

/* retarget, in table.go, of one partition. Who had it becomes its holder (unassign). */
inline retarget(w, p, to) {
	if
	:: lead[w].owner[p] != NOBODY && lead[w].owner[p] != to ->
		lead[w].holder[p] = lead[w].owner[p];
		lead[w].hinc[p] = lead[w].inc[lead[w].owner[p]];
		lead[w].rterm[p] = lead[w].term;
		lead[w].rver[p] = lead[w].version + 1;
		lead[w].owner[p] = NOBODY
	:: else
#ifdef BAD_REPLAN_FORGETS
		-> if
		:: lead[w].owner[p] == NOBODY && lead[w].next[p] != to -> forgetHolder(lead[w], p)
		:: else
		fi
#endif
	fi;
	lead[w].next[p] = to
}

/* The strategy may say anything: any seat. */
inline choose(w, to) {
	if
	:: lead[w].inc[0] != NOSEAT -> to = 0
	:: lead[w].inc[1] != NOSEAT -> to = 1
	:: lead[w].inc[2] != NOSEAT -> to = 2
	fi
}

/* The first plan may move everything, the second what is still draining. */
#define movable(w, p) (plans == PLANS || lead[w].owner[p] == NOBODY)

inline move(w, p, to) {
	if
	:: movable(w, p) -> choose(w, to)
	:: else -> to = lead[w].next[p]
	fi
}

/* planned, for a plan that nobody's death calls for. */
inline planned(w) {
	releaseHolders(w); move(w, 0, a); move(w, 1, b);
	d_step { plans--; retarget(w, 0, a); retarget(w, 1, b); startCommit(w); a = 0; b = 0 }
}

/* planned, for an emergency: retire the seat d of a dead incarnation. What it was
 * granted has no holder, since it is dead; what was to go to it goes elsewhere. */
inline retire(w, d) {
	lead[w].inc[d] = NOSEAT;
	releaseHolders(w); choose(w, a); choose(w, b);
	d_step { leave(w, d, 0, a); leave(w, d, 1, b); startCommit(w); a = 0; b = 0 }
}

inline leave(w, d, p, to) {
	if
	:: lead[w].owner[p] == d -> lead[w].owner[p] = NOBODY
	:: else
	fi;
	if
	:: lead[w].next[p] == d -> lead[w].next[p] = to
	:: else
	fi
}

/* updateSeats, and a joiner's seat: the incarnation that lives now. A seat that
 * had partitions keeps them. */
inline updateSeats(w, d) {
	releaseHolders(w);
	lead[w].inc[d] = life[d];
	d_step { startCommit(w) }
}

/* stepDown: another leader took a later term. */
#define deposed(w) (alive[w] && phase[w] != follower && head.term > lead[w].term)

/* ---- The store ---- */

/* The write of the head by w arrives: writeHead, takeTerm, and their answers. */
inline arrives(w) {
	writing[w] = false;
	if
#ifdef BAD_PLAIN_PUT
	:: true ->
#else
	:: lead[w].rev == head.rev -> /* compare-and-swap */
#endif
		/* a later leader has taken the term, and this takes effect */
		must(I8, lead[w].term > head.term || (lead[w].term == head.term && wrote == w));
		lead[w].rev = head.rev + 1;
		copy(head, lead[w]);
		wrote = w;
		for (k : 0 .. PARTITIONS-1) {
			/* it is in no list */
			must(I4, head.owner[k] != NOBODY || head.holder[k] != NOBODY);
			for (i : 0 .. WORKERS-1) {
				/* it is granted, and another one works on it */
				must(I1, head.owner[k] == NOBODY || i == head.owner[k] || !(works[i] & bit(k)))
			}
		}
		k = 0;
		for (i : 0 .. WORKERS-1) {
			if
			:: head.holder[0] != i && head.holder[1] != i -> aterm[i] = 0; aver[i] = 0 /* nobody waits for it */
			:: else
			fi
		}
		i = 0;
#ifndef BAD_PLAIN_PUT
		/* What others would write makes no difference any more, but for its
		 * revision: the fewer states, the better. */
		for (k : 0 .. WORKERS-1) {
			if
			:: lead[k].rev != head.rev && lead[k].rev != 0 -> forgetTable(lead[k])
			:: else
			fi
		}
		k = 0;
#endif
		if
		:: phase[w] == takesTerm -> load(w)
		:: phase[w] == leads
		:: phase[w] == follower -> dropLeader(w)
		fi
#ifndef BAD_PLAIN_PUT
	:: else ->
		if
		:: phase[w] == takesTerm && head.term < lead[w].term -> campaign(w) /* rereadTerm */
		:: else -> dropLeader(w) /* inspectHead, rereadTerm: stepDown */
		fi
#endif
	fi
}

/* ---- A worker ---- */

/* One step per member d or partition p: what is known of the others is not known
 * yet. */
#define RETIRE(d) \
	leading(self) && lead[self].inc[d] != NOSEAT && gone(d, lead[self].inc[d]) -> retire(self, d)
#define UPDATE(d) \
	leading(self) && alive[d] && lead[self].inc[d] != life[d] -> updateSeats(self, d)
#define grantable(p) (leading(self) && released(lead[self], p))

proctype Worker(byte self) {
	byte a, b;
end:
	do
	/* what it is told, it does */
	:: d_step { news(self) -> sawHead(self) }
	:: d_step { alive[self] && works[self] != want[self] -> onApplied(self) }

	/* campaigns */
	:: d_step { alive[self] && phase[self] == follower && !writing[self] && changes > 0 ->
		changes--; campaign(self) }
	:: d_step { deposed(self) -> dropLeader(self) }

	/* leads: releaseHolders, grant, updateSeats, plans */
	:: d_step { grantable(0) -> forgetHolder(lead[self], 0); startCommit(self) }
	:: d_step { grantable(1) -> forgetHolder(lead[self], 1); startCommit(self) }
	:: d_step { grantable(0) && grantable(1) ->
		forgetHolder(lead[self], 0); forgetHolder(lead[self], 1); startCommit(self) }
	:: atomic { UPDATE(0) }
	:: atomic { UPDATE(1) }
	:: atomic { UPDATE(2) }
	:: atomic { RETIRE(0) }
	:: atomic { RETIRE(1) }
	:: atomic { RETIRE(2) }
	:: atomic { leading(self) && plans > 0 && lead[self].version > 0 && (movable(self, 0) || movable(self, 1)) -> planned(self) }

	/* what it wrote arrives, perhaps after its death */
	:: d_step { writing[self] -> arrives(self) }

	/* dies, at any moment, and comes back under its id, or not */
	:: atomic { alive[self] && crashes > 0 && (phase[self] == follower || replaceable(self)) ->
		crashes--;
		alive[self] = false; want[self] = 0; works[self] = 0;
		aterm[self] = 0; aver[self] = 0; sterm[self] = 0; sver[self] = 0;
		dropLeader(self);
		if :: restarts = true :: restarts = false fi }
	:: d_step { !alive[self] && restarts ->
		restarts = false; alive[self] = true;
#ifndef BAD_OLD_INCARNATION
		life[self]++
#endif
		}
	od
}

/* ---- What must hold ---- */

/* p is owned, and worked on, by somebody who lives. */
#define served(p) \
	(head.owner[p] != NOBODY && head.inc[head.owner[p]] == life[head.owner[p]] && (works[head.owner[p]] & bit(p)))
#define draining(p) (head.owner[p] == NOBODY)

#ifdef HANDOFFS_END
ltl handoffs_end { [] (draining(0) -> <> served(0)) && [] (draining(1) -> <> served(1)) }
#endif

init {
	byte w;
	d_step {
		for (w : 0 .. WORKERS-1) {
			alive[w] = true; life[w] = 1;
			dropLeader(w);
			head.inc[w] = 1
		}
		w = 0;
		head.term = 1; head.version = 1; head.rev = 1;
		for (k : 0 .. PARTITIONS-1) { /* worker k has partition k; worker 2 has none */
			head.owner[k] = k; head.next[k] = k; forgetHolder(head, k);
			want[k] = bit(k); works[k] = bit(k)
		}
		k = 0
	}
	atomic {
		if :: wrote = 0 :: wrote = 2 fi; /* an owner leads, or another one */
		copy(lead[wrote], head); phase[wrote] = leads;
		run Worker(0); run Worker(1); run Worker(2)
	}
	/* No step undoes another, and faults are few: every history ends, and here is how. */
end:	timeout -> must(I3, served(0) && served(1)) /* or a handoff does not end */
}
