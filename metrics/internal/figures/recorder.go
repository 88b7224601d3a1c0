package figures

import (
	"sync"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
)

// Sink takes samples. The label is "" for a figure that has none. It is called
// from several goroutines.
type Sink interface {
	Set(f *Figure, label string, v float64)
	Add(f *Figure, label string, v float64)
	// Observe takes n samples of the same value.
	Observe(f *Figure, label string, v float64, n int)
}

// Recorder translates what parti and package subscription measure.
type Recorder struct {
	sink Sink

	mu          sync.Mutex
	state       string
	worker      string
	confirmedAt time.Time
}

var (
	_ parti.MetricsCollector = (*Recorder)(nil)
	_ subscription.Metrics   = (*Recorder)(nil)
)

// New returns a recorder.
func New(to Sink) *Recorder { return &Recorder{sink: to} }

// CacheAge is the age of the assignment now, 0 without any.
func (r *Recorder) CacheAge() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.confirmedAt.IsZero() {
		return 0
	}
	return time.Since(r.confirmedAt)
}

func (r *Recorder) SetDegradedMode(v float64) { r.sink.Set(DegradedMode, "", v) }

func (r *Recorder) SetCacheAge(age time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmedAt = time.Now().Add(-age)
}

func (r *Recorder) SetAlertLevel(level int) { r.sink.Set(AlertLevel, "", float64(level)) }
func (r *Recorder) ObserveDegradedDuration(d time.Duration) {
	r.sink.Observe(DegradedDuration, "", d.Seconds(), 1)
}
func (r *Recorder) IncrementAlertEmitted(level string) { r.sink.Add(DegradedAlerts, level, 1) }
func (r *Recorder) IncrementCacheFallback()            { r.sink.Add(CacheFallback, "", 1) }

func (r *Recorder) SetState(s parti.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.state
	r.state = s.String()
	if was != "" {
		r.sink.Set(State, was, 0)
	}
	r.sink.Set(State, r.state, 1)
	if s == parti.StateShutdown {
		r.confirmedAt = time.Time{}
	}
}

// SetWorker keeps the series of one id only.
func (r *Recorder) SetWorker(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.worker != "" {
		r.sink.Set(Worker, r.worker, 0)
	}
	if r.worker = id; id != "" {
		r.sink.Set(Worker, id, 1)
	}
}

func (r *Recorder) SetVersion(term, version uint64) {
	r.sink.Set(Term, "", float64(term))
	r.sink.Set(Version, "", float64(version))
}
func (r *Recorder) SetAssignedPartitions(n int)      { r.sink.Set(Partitions, "", float64(n)) }
func (r *Recorder) SetAssignedWeight(w int64)        { r.sink.Set(Weight, "", float64(w)) }
func (r *Recorder) AddOverlaps(n int)                { r.sink.Add(Overlaps, "", float64(n)) }
func (r *Recorder) IncrementError(kind string)       { r.sink.Add(Errors, kind, 1) }
func (r *Recorder) AddMoves(reason string, n int)    { r.sink.Add(Moves, reason, float64(n)) }
func (r *Recorder) IncrementRebalance(reason string) { r.sink.Add(Rebalances, reason, 1) }
func (r *Recorder) IncrementForcedHandoff()          { r.sink.Add(ForcedHandoffs, "", 1) }
func (r *Recorder) IncrementClaimConflict()          { r.sink.Add(ClaimConflicts, "", 1) }
func (r *Recorder) IncrementKVError(bucket string)   { r.sink.Add(KVErrors, bucket, 1) }
func (r *Recorder) IncrementWatchRestart()           { r.sink.Add(WatchRestarts, "", 1) }

func (r *Recorder) ObserveApply(a parti.AppliedChange) {
	r.sink.Observe(ApplyDuration, "", a.Took.Seconds(), 1)
}

func (r *Recorder) ObserveRebalance(b parti.Rebalance) {
	r.sink.Observe(RebalanceDuration, "plan", b.Plan.Seconds(), 1)
	r.sink.Observe(RebalanceDuration, "publish", b.Publish.Seconds(), 1)
	r.sink.Observe(RebalanceDuration, "handoff", b.Handoff.Seconds(), 1)
}

func (r *Recorder) ObserveHandoffPause(cause string, d time.Duration, partitions int) {
	r.sink.Observe(HandoffPause, cause, d.Seconds(), partitions)
	r.sink.Add(UnownedSeconds, "", d.Seconds()*float64(partitions))
}

func (r *Recorder) SetFleet(partitions, unowned int) {
	r.sink.Set(ListedPartitions, "", float64(partitions))
	r.sink.Set(UnownedPartitions, "", float64(unowned))
}

func (r *Recorder) SetLeader(leader bool) {
	v := 0.0
	if leader {
		v = 1
	}
	r.sink.Set(Leader, "", v)
}

func (r *Recorder) ObserveHeartbeat(d time.Duration) {
	r.sink.Observe(HeartbeatDuration, "", d.Seconds(), 1)
}

func (r *Recorder) ObserveCommit(d time.Duration) { r.sink.Observe(CommitDuration, "", d.Seconds(), 1) }

func (r *Recorder) ObserveHandler(d time.Duration, ok bool) {
	result := "ok"
	if !ok {
		result = "error"
	}
	r.sink.Observe(HandlerDuration, result, d.Seconds(), 1)
}

func (r *Recorder) ObserveRelease(d time.Duration) {
	r.sink.Observe(ReleaseDuration, "", d.Seconds(), 1)
}
func (r *Recorder) IncrementPanic()        { r.sink.Add(Panics, "", 1) }
func (r *Recorder) IncrementStuck()        { r.sink.Add(Stuck, "", 1) }
func (r *Recorder) IncrementRevoked()      { r.sink.Add(Revoked, "", 1) }
func (r *Recorder) IncrementDeadLettered() { r.sink.Add(DeadLettered, "", 1) }
func (r *Recorder) IncrementTerminated()   { r.sink.Add(Terminated, "", 1) }
func (r *Recorder) IncrementTakeover()     { r.sink.Add(Takeovers, "", 1) }
func (r *Recorder) IncrementResync()       { r.sink.Add(Resyncs, "", 1) }
func (r *Recorder) IncrementRetired()      { r.sink.Add(Retired, "", 1) }
func (r *Recorder) SetAbandoned(durables int, messages uint64) {
	r.sink.Set(AbandonedDurables, "", float64(durables))
	r.sink.Set(AbandonedMessages, "", float64(messages))
}
func (r *Recorder) AddHandedBack(n int) { r.sink.Add(HandedBack, "", float64(n)) }

// Consumer is what is asked about consumers; *subscription.DurableHelper is one.
type Consumer interface {
	Stats() []subscription.PartitionStats
}

// Consumption is the present state of consumers.
type Consumption struct{ Partitions, Pending, MaxPending, InFlight, Failing, Stuck float64 }

// Consumed adds up what consumers do.
func Consumed(consumers []Consumer) Consumption {
	var sum Consumption
	for _, c := range consumers {
		before := "" // partitions of one durable tell the same
		for _, s := range c.Stats() {
			sum.Partitions++
			if s.Durable != before || s.Durable == "" {
				sum.Pending += float64(s.Pending)
			}
			before = s.Durable
			sum.MaxPending = max(sum.MaxPending, float64(s.Pending))
			sum.InFlight += float64(s.InFlight)
			if s.Failing {
				sum.Failing++
			}
			if s.Stuck {
				sum.Stuck++
			}
		}
	}
	return sum
}

// Show sets the figures.
func (c Consumption) Show(to Sink) {
	to.Set(ConsumerPartitions, "", c.Partitions)
	to.Set(ConsumerPending, "", c.Pending)
	to.Set(ConsumerMaxPending, "", c.MaxPending)
	to.Set(ConsumerInFlight, "", c.InFlight)
	to.Set(ConsumerFailing, "", c.Failing)
	to.Set(ConsumerStuck, "", c.Stuck)
}
