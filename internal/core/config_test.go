package core

import (
	"reflect"
	"strings"
	"testing"
)

// configTests has, for every field of [Config], a scenario that shows it: what
// must be in the transcript with one value, and what with another. CONFIG in the
// scenario stands for the field's setting.
var configTests = map[string]struct {
	script         string
	value, shows   string
	value2, shows2 string
}{
	"Group":  {"show kv; start a CONFIG; run 1s", "Group=g", "create hb.w-0", "Group=other", "create other.hb.w-0"},
	"App":    {"start a App=one; run 5s; start b CONFIG; run 1s; state", "App=one", "b  WaitingAssignment w-1", "App=two", "b  Shutdown"},
	"Prefix": {"start a CONFIG; run 1s", "Prefix=w", "create hb.w-0", "Prefix=v", "create hb.v-0"},
	"IDMin":  {"start a CONFIG; run 1s", "IDMin=0", "create id.0", "IDMin=3", "create id.3"},
	"IDMax":  {"start a; run 3500ms; start b CONFIG; run 5s", "IDMax=1", "create id.1 {b} = ok", "IDMax=0", "ids-exhausted"},
	"IDTTL":  {"show kv; start a CONFIG; run 11s", "IDTTL=30s", "10.002 a  update id.0", "IDTTL=12s", "4.002 a  update id.0"},

	"HeartbeatInterval": {"show kv; start a CONFIG; run 5s", "HeartbeatInterval=2s", "2.003 a  update hb", "HeartbeatInterval=3s", "3.003 a  update hb"},
	"HeartbeatTTL":      {"config CONFIG; start a,b; run 15s; kill b; run 20s", "HeartbeatTTL=6s", "21.506 a  plan", "HeartbeatTTL=9s", "24.506 a  plan"},

	"ColdStartWindow":      {"start a ColdStartSettle=20s CONFIG; run 20s", "ColdStartWindow=5s", " 5.006 a  plan", "ColdStartWindow=8s", " 8.006 a  plan"},
	"ColdStartSettle":      {"start a CONFIG; run 20s", "ColdStartSettle=3s", " 3.007 a  plan", "ColdStartSettle=4s", " 4.007 a  plan"},
	"PlannedScaleWindow":   {"start a CONFIG; run 20s; start b; run 15s", "PlannedScaleWindow=5s", "25.003 a  plan", "PlannedScaleWindow=7s", "27.003 a  plan"},
	"EmergencyGracePeriod": {"start a CONFIG; start b; run 15s; kill b; run 20s", "EmergencyGracePeriod=1500ms", "21.506 a  plan", "EmergencyGracePeriod=3s", "23.006 a  plan"},
	"RestartRatio":         {"start a CONFIG; start b,c,d,e; run 15s; kill d,e; run 9s", "RestartRatio=0.5", "21.506 a  plan", "RestartRatio=0.3", "22.506 a  plan"},

	"OperationTimeout": {"new a CONFIG; fault a unsent 1 create id.0; begin a; run 15s", "OperationTimeout=3s", "3.001 a  create id.0 {a} = no answer", "OperationTimeout=5s", "5.001 a  create id.0 {a} = no answer"},
	"ElectionTimeout":  {"new a Agent=true CONFIG; agent a hold; begin a; run 15s", "ElectionTimeout=2s", "2.003 a  report election", "ElectionTimeout=4s", "4.003 a  report election"},
	"StartupTimeout":   {"new a CONFIG; fault a fail -1 * *; begin a; run 15s", "StartupTimeout=4s", "4.000 a  start failed", "StartupTimeout=7s", "7.000 a  start failed"},
	"ShutdownTimeout":  {"start a CONFIG; run 5s; silence a; stop a; run 20s", "ShutdownTimeout=4s", "9.000 a  ended: timeout", "ShutdownTimeout=8s", "13.000 a  ended: timeout"},
	"HandoffTimeout":   {"start a CONFIG; run 5s; busy a; start b; run 40s", "HandoffTimeout=5s", "20.006 a  report forced", "HandoffTimeout=9s", "24.006 a  report forced"},

	"MinRebalanceThreshold": {"start a RefreshInterval=3s CONFIG; start b; run 15s; list p1:300 p2 p3 p4; run 20s", "MinRebalanceThreshold=0.5", "15.013 a  create part.w-0.4.2", "MinRebalanceThreshold=0.1", "25.012 a  plan"},
	"MinRebalanceInterval":  {"start a PlannedScaleWindow=1s CONFIG; run 5s; start b; run 40s", "MinRebalanceInterval=9s", "11.008 a  plan", "MinRebalanceInterval=30s", "32.008 a  plan"},
	"RefreshInterval":       {"show source; start a CONFIG; run 20s", "RefreshInterval=7s", "7.007 a  source", "RefreshInterval=9s", "9.007 a  source"},
	"PayloadTTL":            {"show watch; start a CONFIG; run 40s", "PayloadTTL=7s", " 7.006 a  watch > as g_files", "PayloadTTL=9s", " 9.006 a  watch > as g_files"},

	"Capacity":        {"start a; start b CONFIG; run 15s", "Capacity=2", "plan 4 partitions among w-0 w-1*2", "Capacity=3", "plan 4 partitions among w-0 w-1*3"},
	"Labels":          {"start a; start b CONFIG; run 15s", "Labels=zone:y", "among w-0 w-1{zone:y}", "Labels=zone:x", "among w-0 w-1{zone:x}"},
	"MaxMovesPerPlan": {"show log; start a CONFIG; run 5s; start b; run 60s", "MaxMovesPerPlan=0", "moves=2", "MaxMovesPerPlan=1", "moves=1"},

	"Exclusive": {"config CONFIG; start a,b; run 15s; disconnect b; run 5s; state", "Exclusive=false", "20.000 b  Stable", "Exclusive=true", "19.404 b  apply 4.1 post_cold_start []"},
	"Agent":     {"start a CONFIG; run 1s", "Agent=false", "0.005 a  create leader", "Agent=true", "agent request w-0"},

	"EnterThreshold":      {"start a CONFIG; run 15s; disconnect a; run 20s", "EnterThreshold=5s", "20.000 a  Stable -> Degraded", "EnterThreshold=8s", "23.000 a  Stable -> Degraded"},
	"ExitThreshold":       {"start a CONFIG; run 15s; disconnect a; run 12s; connect a; run 20s", "ExitThreshold=5s", "32.000 a  Degraded -> Stable", "ExitThreshold=9s", "36.000 a  Degraded -> Stable"},
	"KVErrorThreshold":    {"start a CONFIG; run 15s; fault a fail -1 * *; run 10s", "KVErrorThreshold=1", "16.003 a  Stable -> Degraded", "KVErrorThreshold=2", "16.005 a  Stable -> Degraded"},
	"KVErrorWindow":       {"start a KVErrorThreshold=4 CONFIG; run 15s; fault a fail -1 * *; run 12s", "KVErrorWindow=1s", "26.003 a  Stable -> Degraded", "KVErrorWindow=30s", "18.003 a  Stable -> Degraded"},
	"RecoveryGracePeriod": {"start a CONFIG; start b,c; run 15s; disconnect a,b,c; run 30s; kill c; connect a; run 5s; connect b; run 60s", "RecoveryGracePeriod=30s", "80.001 a  plan", "RecoveryGracePeriod=20s", "70.001 a  plan"},

	"AlertThresholds": {"start a CONFIG; run 15s; disconnect a; run 60s", "AlertThresholds=15s/40s/15m/30m", "55.000 a  alert Warn after 40s", "AlertThresholds=15s/50s/15m/30m", "65.000 a  alert Warn after 50s"},
	"AlertInterval":   {"start a AlertThresholds=15s/5m/15m/30m CONFIG; run 15s; disconnect a; run 60s", "AlertInterval=10s", "40.000 a  alert Info", "AlertInterval=15s", "45.000 a  alert Info"},

	"Host":    {"new a CONFIG; show kv; begin a; run 1s; raw ids id.0", "Host=here", `"host":"here"`, "Host=there", `"host":"there"`},
	"Process": {`put ids id.0 {"f":1,"inc":"x","proc":{"boot":"h","ns":"ns","pid":1,"start":1}}; new a CONFIG; dead a 0; begin a; run 1s`, "Process=h/2", "a  create hb.w-0", "Process=k/2", "a  create hb.w-1"},
	"Buckets": {"new a CONFIG; begin a; run 1s; raw assignments head", "Buckets=t1/t2/t3/t4", `"c":"t4"`, "Buckets=t1/t2/t3/t5", `"c":"t5"`},
}

func TestConfig(t *testing.T) {
	for field := range reflect.TypeFor[Config]().Fields() {
		t.Run(field.Name, func(t *testing.T) {
			c, ok := configTests[field.Name]
			if !ok {
				t.Fatal("no test shows that this field is not ignored")
			}
			first, second := transcript(t, c.script, c.value), transcript(t, c.script, c.value2)
			if !strings.Contains(first, c.shows) {
				t.Errorf("with %s there is no %q in\n%s", c.value, c.shows, first)
			}
			if !strings.Contains(second, c.shows2) {
				t.Errorf("with %s there is no %q in\n%s", c.value2, c.shows2, second)
			}
			if strings.Contains(first, c.shows2) || strings.Contains(second, c.shows) {
				t.Errorf("%s and %s make no difference", c.value, c.value2)
			}
		})
	}
}

// transcript runs commands, separated by semicolons.
func transcript(t *testing.T, commands, setting string) string {
	t.Helper()
	s := &script{world: newWorld(), cfg: testConfig()}
	for cmd := range strings.SplitSeq(strings.ReplaceAll(commands, "CONFIG", setting), "; ") {
		if err := s.do(strings.Fields(cmd)); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	return s.trace.String()
}
