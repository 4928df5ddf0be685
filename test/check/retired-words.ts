// Words that vfioscope used to have for things that its field has better words for, and phrases that
// have to be guessed. test/check/words.ts looks for them. docs/glossary.md has the words that remain.

/** A retired word. */
export interface RetiredWord {
  /** Compared without regard to case, with `anOldName` and `an_old_name` taken apart into words. */
  readonly pattern: RegExp;
  /** What to write instead. */
  readonly instead: string;
}

/** A line that may contain a retired word. */
export interface WordException {
  /** A file, or a directory that ends in a slash. */
  readonly path: string;
  /** What the line contains. */
  readonly line: RegExp;
  readonly reason: string;
}

export const RETIRED_WORDS: readonly RetiredWord[] = [
  // The host, and how much of it is known
  {
    pattern:
      /\b(a|the|each|one|another|next|last|first|every|no|this|that|whole|host) looks?\b(?! (like|up)\b)/,
    instead: 'host snapshot',
  },
  { pattern: /\blook(s|ed|ing)? at the host\b/, instead: 'take a host snapshot' },
  { pattern: /\bhost[ .]look(s|ed)?\b/, instead: 'snapshots, snapshot.done' },
  {
    pattern: /\bseen\.(\*|(run|parent|device|open|group|vm|vm file|vm entry)\b)/,
    instead: 'snapshot.*',
  },
  { pattern: /\bunseen\b/, instead: 'not observed' },
  { pattern: /\btaint(s|ed)?\b/, instead: 'unverified' },
  { pattern: /['"`*]late['"`*]|\b(quality|marked( as)?|observed) late\b/, instead: 'partial' },
  { pattern: /\bput(s|ting)?( \w+)?( \w+)? right\b/, instead: 'reconcile' },
  { pattern: /\b(held|holds?|holding) back\b/, instead: 'suppress' },
  { pattern: /\bsight\b/, instead: 'coverage' },
  { pattern: /\bobstacles?\b/, instead: 'preflight failure' },
  { pattern: /\bimplied\b/, instead: 'inferred from' },
  // Objects
  { pattern: /\blen(ds?|t|ding)\b/, instead: 'assign, pass through' },
  {
    pattern: /\b(life(?!-cycle)|lives)\b/,
    instead: 'device, VM, parent; tracked object; lifecycle; incarnation; stays, exists (verb)',
  },
  {
    pattern: /(?<!\b(at|for) (the|that|this|any|one|every|a|some) )(?<!\ba )\bmoments?\b/,
    instead: 'event kind (point and phase), transition (an event with its objects)',
  },
  { pattern: /\bmakers?\b|\bmade_?by\b/, instead: 'creator, createdBy' },
  { pattern: /\breleased VMs?\b/, instead: 'zombie VM' },
  { pattern: /\bwithdr(aws?|awn|ew|awals?|awing)\b/, instead: 'unregister' },
  { pattern: /\blet(s|ting)?( (it|them|him|her))? go\b/, instead: 'release, detach, unbind' },
  // Rules and their violations
  { pattern: /(?<!\bin (the|a) )\bwrong orders?\b/, instead: 'ordering violation' },
  { pattern: /\bculprits?\b|\bwho is behind\b/, instead: 'attribution; holder, creator, remover' },
  { pattern: /\b(accus(es?|ed|ing)|blam(es?|ed|ing))\b/, instead: 'attribute' },
  { pattern: /\blasting\b/, instead: 'ongoing' },
  { pattern: /\b(an|one|single|each|these|those|of) acts?\b/, instead: 'one-shot violation; step' },
  { pattern: /\bmistakes?\b/, instead: 'rule error; error; ordering violation' },
  {
    pattern: /\b(speaks?|spoke|speaking)\b(?! (HTTP|TLS|OTLP|gRPC|Prometheus)\b)/,
    instead: 'fires',
  },
  { pattern: /(?<!-)\bsilent\b/, instead: 'does not fire; is suppressed; logs nothing' },
  { pattern: /\b(advice|says|origin):/, instead: 'remediation, message, references' },
  {
    pattern: /\bhow bad it is\b|\bwhere it comes from\b|\bhow it is provoked\b/,
    instead: 'Severity; References; How to reproduce',
  },
  // Programs, and how they are tested
  { pattern: /\blanes?\b/, instead: 'per-CPU counters' },
  {
    pattern:
      /\bprobe places?\b|\bplaces? (of|for) (a |the )?probes?\b|\bopen(s|ed)? (a|the|each) place\b/,
    instead: 'probe site',
  },
  { pattern: /\bstor(y|ies)\b/, instead: 'scenario' },
  { pattern: /\btap(e|es|ed|ing)\b/, instead: 'recorded scenario; recording' },
  { pattern: /\bcalm\b/, instead: 'no-false-positive soak' },
  { pattern: /\b(?<!(build|final|Docker) )stages?\b/, instead: 'lab session; step' },
  { pattern: /\bscenes?\b/, instead: 'lab session; scenario' },
  { pattern: /\bhunt(s|ed|ing)?\b/, instead: 'fuzz' },
  { pattern: /\brooms\b|\b(a|this|each|own|one) room\b/, instead: 'layer, module' },
  { pattern: /\bhouses?\b/, instead: 'layer, module, project' },
  // Verbs and phrases
  {
    pattern: /\b(tells?|told|telling)\b/,
    instead: 'log, report, emit, describe, show, print, infer, distinguish',
  },
  { pattern: /\b(takes? in|taken in|took in|taking in)\b/, instead: 'process, ingest' },
  { pattern: /\b(go|goes|went) on\b/, instead: 'continue' },
  { pattern: /\bonce more\b|\banew\b/, instead: 'again' },
  { pattern: /\bado\b/, instead: 'by default' },
  { pattern: /\bwhat there is\b/, instead: 'name the things' },
  {
    pattern: /\bwhere the order broke\b|\bwho cannot (tell|say)\b/,
    instead: 'Ordering violations; Blind spots',
  },
];

/** Lines that may keep such a word. One that excuses nothing fails the check. */
export const WORD_EXCEPTIONS: readonly WordException[] = [
  {
    path: 'bpf/vfioscope.bpf.c',
    line: /__u32 taints;/,
    reason: 'a field of the tracepoint module:module_load',
  },
  {
    path: 'dashboards/pictures/main.ts',
    line: /silent/i,
    reason: 'a host that stops to answer; an edit makes the pictures stale',
  },
  {
    path: 'src/capture/format1.ts',
    line: /'implied'/,
    reason: 'a value in recordings of format 1',
  },
  {
    path: 'src/rules/release-wait-stall.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/release-wait-stall.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'src/rules/vfio-double-init.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/vfio-double-init.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'src/rules/vfio-double-register.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/vfio-double-register.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'src/rules/vfio-never-registered.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/vfio-never-registered.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'src/rules/vfio-put-unbalanced.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/vfio-put-unbalanced.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'src/rules/vfio-release-missing.ts',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  {
    path: 'docs/rules/vfio-release-missing.md',
    line: /device life cycle helpers/,
    reason: 'the title of a patch',
  },
  { path: 'test/fresh.sh', line: /Origin: Debian/, reason: 'a field of a Debian Release file' },
  { path: 'test/image.sh', line: /Origin: Debian/, reason: 'a field of a Debian Release file' },
  { path: 'test/e2e/matrix.ts', line: /'late'/, reason: 'the name of a test file' },
  { path: 'test/kmod/README.md', line: /taints kernel/, reason: 'a line that the kernel logs' },
  { path: 'docs/runbooks/', line: /taints kernel/, reason: 'a line that the kernel logs' },
  {
    path: 'test/e2e/runbooks/outputs.json',
    line: /taints kernel/,
    reason: 'a line that the kernel logs',
  },
];

/** What is checked: files, and directories that end in a slash. */
export const CHECKED_PATHS: readonly string[] = [
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'Dockerfile',
  'README.md',
  'SECURITY.md',
  'agent/',
  'bpf/',
  'dashboards/',
  'docs/',
  'package.json',
  'src/',
  'test/',
];
