/* The token canvas as data: messages in, what is to be seen out. No DOM, no clock, no network.
 *
 * A run is a list of stops, one for the start and one for each step (two at a step where the visitor
 * edited). A stop is a complete snapshot, so any step is shown without replaying the others. Every
 * function takes a state and returns a new one; a run's vocabulary is the only thing that grows in place
 * (ids are never redefined), and a continued run shares it and the earlier stops with the run it left.
 */
const CanvasModel = (() => {
  'use strict';

  const FIXED = 1, FORCED = 2, LOCKED = 4, REMASKED = 8, RESAMPLED = 16, NEW = 32;
  const NOISE = 64; // a random word that the run began with, and that no step has changed yet
  const noiseIsWords = (head) => head.noise === 'uniform' || head.noise === 'gaussian'; // else it is masks
  const STEP_MS = 120, LONGEST_PLAY_MS = 8000;
  const RUNS_KEPT = 8, EDITS_KEPT = 200;
  const SHARE = 0.5; // a commit clashes when, given the others of its step, it keeps less than this share
  const SPECIAL = /^(?:<\|([^|]+)\|>|\[(PAD|CLS|SEP|UNK|BOS|EOS|EOT)\]|<\/?(s|pad|unk|bos|eos)>)$/;

  // ---------------------------------------------------------------- bytes, numbers, tokens to text

  function bytesOf(base64) {
    const binary = atob(base64 || '');
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  const probabilityOf = (byte) => (byte / 255) ** 2;
  const entropyOf = (byte, hmax) => (byte / 255) * hmax;

  const encoder = new TextEncoder();
  const strictDecoder = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
  const hex = (byte) => `⟨${byte.toString(16).toUpperCase().padStart(2, '0')}⟩`;

  function followers(lead) { // how many bytes the character goes on for; -1: no character begins so
    if (lead < 0x80) return 0;
    if (lead >= 0xc2 && lead < 0xe0) return 1;
    if (lead >= 0xe0 && lead < 0xf0) return 2;
    return lead >= 0xf0 && lead < 0xf5 ? 3 : -1;
  }

  /* Text of a row of tokens, each character given to the token that completes it.
   * parts: string | Uint8Array | null (a mask, which breaks the stream).
   * Returns [{text, plain, part}]: `text` shows bytes that are no character as ⟨E2⟩, `plain` has U+FFFD
   * for them, `part` is the character to which a token of only leading bytes contributes. */
  function alignText(parts) {
    const out = parts.map(() => ({text: '', plain: '', part: ''}));
    let open = []; // [position, byte] of a character that is not complete yet
    const give = (at, text, plain) => { out[at].text += text; out[at].plain += plain; };
    const spill = () => { for (const [at, byte] of open) give(at, hex(byte), '\ufffd'); open = []; };
    const take = (at, byte) => {
      if (open.length && (byte & 0xc0) !== 0x80) spill();
      if (!open.length && followers(byte) < 0) { give(at, hex(byte), '\ufffd'); return; }
      open.push([at, byte]);
      if (open.length <= followers(open[0][1])) return;
      let character;
      try {
        character = strictDecoder.decode(Uint8Array.from(open, (pair) => pair[1]));
      } catch {
        spill();
        return;
      }
      for (const [holder] of open) if (holder !== at) out[holder].part = character;
      give(at, character, character);
      open = [];
    };
    parts.forEach((part, at) => {
      if (typeof part === 'string' || part === null) {
        if (open.length) spill();
        if (part) give(at, part, part);
      } else {
        for (const byte of part) take(at, byte);
      }
    });
    spill();
    return out;
  }

  function learn(vocab, texts) {
    for (const [id, text] of Object.entries(texts || {})) {
      vocab.set(Number(id), typeof text === 'string' ? text : Uint8Array.from(text));
    }
  }

  function tokenPart(vocab, id) {
    const part = vocab.get(id);
    return part === undefined ? `⟨${id}⟩` : part;
  }

  const tokenText = (vocab, id) => alignText([tokenPart(vocab, id)])[0].text;

  // Characters that would be invisible, or would rearrange what stands around them.
  const NAMED = {
    0x09: '⇥', 0x0d: '␍', 0x7f: '␡', 0xad: '⟨SHY⟩', 0xa0: '⍽', 0x61c: '⟨ALM⟩', 0x200b: '⟨ZWSP⟩',
    0x200c: '⟨ZWNJ⟩', 0x200d: '⟨ZWJ⟩', 0x200e: '⟨LRM⟩', 0x200f: '⟨RLM⟩', 0x2028: '⟨LS⟩', 0x2029: '⟨PS⟩',
    0x202a: '⟨LRE⟩', 0x202b: '⟨RLE⟩', 0x202c: '⟨PDF⟩', 0x202d: '⟨LRO⟩', 0x202e: '⟨RLO⟩', 0x2060: '⟨WJ⟩',
    0x2066: '⟨LRI⟩', 0x2067: '⟨RLI⟩', 0x2068: '⟨FSI⟩', 0x2069: '⟨PDI⟩', 0xfe0f: '⟨VS16⟩', 0xfeff: '⟨BOM⟩',
  };
  const HIDDEN = new RegExp('[\\u0000-\\u001f\\u007f-\\u00a0\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e'
    + '\\u2060\\u2066-\\u2069\\ufe0f\\ufeff\\ud800-\\udfff]', 'u');

  function nameOf(code) {
    if (NAMED[code]) return NAMED[code];
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    const invisible = (code >= 0x80 && code < 0xa0) || (code >= 0xd800 && code < 0xe000);
    return invisible ? `⟨${code.toString(16).toUpperCase().padStart(4, '0')}⟩` : null;
  }

  const specialName = (name) => name.replace(/_/g, ' ').replace('endoftext', 'end of text');

  /* A token's text as segments {kind, text}: "text" as it is, "mark" for a visible stand-in, "break" for
   * a line break, "label" for a special token. Joiners between two characters are left to join them. */
  function visible(text) {
    const special = SPECIAL.exec(text);
    if (special) return [{kind: 'label', text: specialName(special[1] || special[2] || special[3])}];
    if (/^ +$/.test(text)) return [{kind: 'mark', text: '␣'.repeat(text.length)}];
    if (!HIDDEN.test(text)) return text ? [{kind: 'text', text}] : [];
    const segments = [];
    const push = (kind, piece) => {
      const last = segments[segments.length - 1];
      if (last && last.kind === kind && kind !== 'break') last.text += piece;
      else segments.push({kind, text: piece});
    };
    const characters = [...text];
    characters.forEach((character, i) => {
      const code = character.codePointAt(0);
      const joins = (code === 0x200d || code === 0xfe0f) && i > 0 && characters[i - 1].codePointAt(0) > 0xff;
      const name = joins ? null : nameOf(code);
      if (character === '\n') { push('mark', '⏎'); push('break', '\n'); }
      else if (name) push('mark', name);
      else push('text', character);
    });
    return segments;
  }

  // A leading space is a word space: it stays outside the tinted cell, so that text reads as text.
  function splitGap(text) {
    const gap = /^ +(?=[^ ])/.exec(text);
    return gap ? [gap[0], text.slice(gap[0].length)] : ['', text];
  }

  // ---------------------------------------------------------------- stops

  const isInteger = Number.isInteger;

  function need(condition, what) {
    if (!condition) throw new TypeError(what);
  }

  function flagsOf(segment, length) {
    const flags = new Uint8Array(length);
    const raise = (positions, bit) => {
      for (const at of positions || []) {
        need(isInteger(at) && at >= 0 && at < length, `position ${at} outside 0..${length - 1}`);
        flags[at] |= bit;
      }
    };
    raise(segment.fixed, FIXED);
    raise(segment.forced, FORCED);
    raise(segment.locked, LOCKED);
    return flags;
  }

  /* Where each position of the new row stood in the old one, -1 where it is new: as the segment says
   * (`from`), else position by position, else by what is the same at both ends. */
  function origins(segment, before) {
    const tokens = segment.tokens, length = tokens.length, old = before.tokens;
    if (segment.from) return segment.from;
    const from = new Array(length).fill(-1);
    if (length === old.length) {
      for (let i = 0; i < length; i += 1) if (tokens[i] === old[i]) from[i] = i;
      return from;
    }
    let head = 0;
    while (head < length && head < old.length && tokens[head] === old[head]) { from[head] = head; head += 1; }
    let i = length - 1, j = old.length - 1;
    while (i >= head && j >= head && tokens[i] === old[j]) { from[i] = j; i -= 1; j -= 1; }
    return from;
  }

  function segmentStop(segment, key, head, before) {
    const mask = head.mask;
    need(segment && Array.isArray(segment.tokens) && segment.tokens.length > 0, 'segment without tokens');
    const length = segment.tokens.length;
    const stop = {
      key, step: segment.step || 0, t: segment.t, nfe: before ? before.nfe : 0, edited: Boolean(before),
      tokens: Int32Array.from(segment.tokens), flags: flagsOf(segment, length), mask, look: null, wrote: null,
      commits: new Array(length).fill(null),
      own: new Map(Object.entries(segment.own || {}).map(([at, text]) => [Number(at), text])),
      part: before ? before.part + 1 : 0, // which segment of its run
      spaced: segment.spaced ? new Set(segment.spaced) : null,
      unspaced: new Set(segment.unspaced),
      tail: segment.tail || 0,
    };
    if (noiseIsWords(head)) {
      stop.flags.forEach((bits, at) => { if (!(bits & FIXED) && stop.tokens[at] !== mask) stop.flags[at] |= NOISE; });
    }
    if (!before) return stop;
    origins(segment, before).forEach((at, i) => {
      if (at < 0 || at >= before.tokens.length || stop.tokens[i] !== before.tokens[at]) return;
      if (stop.tokens[i] === mask) stop.flags[i] |= before.flags[at] & REMASKED;
      else if (!(stop.flags[i] & FORCED) || before.flags[at] & FORCED) {
        stop.commits[i] = before.commits[at];
        stop.flags[i] |= before.flags[at] & RESAMPLED;
        if (!(before.flags[at] & NOISE)) stop.flags[i] &= ~NOISE;
      }
    });
    return stop;
  }

  // What the denoiser believed at one step, as it came: bytes, read when somebody looks. Where the run moves
  // latents, `near` is how far each lies from its word after the step, and `lead` how much farther the second
  // word is, in hundredths.
  function lookOf(message, before, head) {
    if (message.fresh === false) return before.look;
    if (!message.h) return null;
    const length = before.tokens.length, k = head.k || 0;
    const asked = {
      masks: (id) => id === before.mask, free: (id, i) => !(before.flags[i] & FIXED),
    }[message.at || 'masks'];
    const at = Array.isArray(message.at) ? message.at : [];
    need(asked || Array.isArray(message.at), `candidates at ${message.at}`);
    if (asked) before.tokens.forEach((id, i) => { if (asked(id, i)) at.push(i); });
    const h = bytesOf(message.h), p = bytesOf(message.p), raw = bytesOf(message.ids);
    const ids = head.id_bytes === 2 ? new Uint16Array(raw.buffer) : new Uint32Array(raw.buffer);
    need(h.length === at.length, `${h.length} entropies for ${at.length} positions`);
    need(p.length === at.length * k && ids.length === p.length, `candidates are not ${at.length} x ${k}`);
    const where = new Int32Array(length).fill(-1);
    at.forEach((position, i) => { where[position] = i; });
    const [near, lead] = [message.near, message.lead].map((packed) => (
      packed ? new Uint16Array(bytesOf(packed).buffer) : null));
    need([near, lead].every((all) => !all || all.length === at.length), 'not a distance for each position');
    return {step: message.step, where, h, ids, p, k, hmax: head.hmax || 0, near, lead};
  }

  function frameStop(message, before, key, head) {
    need(isInteger(message.step) && Array.isArray(message.set), 'frame without step or set');
    const look = lookOf(message, before, head);
    const stop = {
      ...before, key, step: message.step, t: message.t, nfe: message.nfe, edited: false, look,
      tokens: before.tokens.slice(), flags: before.flags.map((bits) => bits & ~NEW), commits: before.commits,
      wrote: {commit: 0, remask: 0, resample: 0, again: 0}, set: message.set, stats: undefined, view: undefined,
    };
    // Once a latent has arrived, the word that it stands at is not the noise's any more.
    if (head.noise === 'gaussian' && message.t === 0) stop.flags.forEach((_, at) => { stop.flags[at] &= ~NOISE; });
    if (message.set.length) stop.commits = before.commits.slice();
    for (const [at, id, p] of message.set) {
      need(isInteger(at) && at >= 0 && at < stop.tokens.length && isInteger(id), `cannot set ${at} to ${id}`);
      write(stop, at, id, p);
    }
    return stop;
  }

  function write(stop, at, id, p) {
    const was = stop.tokens[at];
    stop.tokens[at] = id;
    if (stop.own.has(at)) { stop.own = new Map(stop.own); stop.own.delete(at); }
    if (id === stop.mask) {
      if (was === id) return;
      stop.commits[at] = null;
      stop.flags[at] = (stop.flags[at] & (FIXED | LOCKED)) | REMASKED;
      stop.wrote.remask += 1;
      return;
    }
    const row = stop.look ? stop.look.where[at] : -1;
    const chance = typeof p === 'number' ? p : NaN;
    stop.commits[at] = {step: stop.step, p: chance, look: row < 0 ? null : stop.look, row};
    if (was === id) return;
    // Over noise it is the run's first word here; only a word of its own is one that it took back.
    const again = was !== stop.mask && !(stop.flags[at] & NOISE);
    stop.flags[at] = (stop.flags[at] & (FIXED | LOCKED)) | NEW | (again ? RESAMPLED : 0);
    stop.wrote[was === stop.mask ? 'commit' : 'resample'] += 1;
    if (again) stop.wrote.again += 1;
  }

  const topOf = (look, row) => (look.k ? probabilityOf(look.p[row * look.k]) : NaN);

  function beliefRow(look, row) {
    const candidates = [];
    for (let j = 0; j < look.k; j += 1) {
      candidates.push({id: look.ids[row * look.k + j], p: probabilityOf(look.p[row * look.k + j])});
    }
    return {step: look.step, entropy: entropyOf(look.h[row], look.hmax), candidates};
  }

  /* What the denoiser believed about a position: the newest look where it looked, else the look at a token's
   * commit, null for what it never looked at. */
  function beliefs(stop, at) {
    const row = stop.look ? stop.look.where[at] : -1;
    const commit = stop.commits[at];
    const committed = Boolean(commit && commit.look && (row < 0 || commit.look === stop.look));
    if (committed) return {...beliefRow(commit.look, commit.row), step: commit.step, committed};
    return row < 0 ? null : {...beliefRow(stop.look, row), committed};
  }

  // The readout, as of a stop. NaN means absent.
  function stats(stop) {
    if (stop.stats) return stop.stats;
    let masks = 0, gate = Infinity, sum = 0, known = 0;
    stop.tokens.forEach((id, at) => {
      if (id !== stop.mask) return;
      masks += 1;
      const row = stop.look ? stop.look.where[at] : -1;
      const top = row < 0 ? NaN : topOf(stop.look, row);
      if (!(top >= 0)) return;
      gate = Math.min(gate, top);
      sum += top;
      known += 1;
    });
    stop.stats = {
      step: stop.step, masks, gate: known ? gate : NaN, mean: known ? sum / known : NaN, t: stop.t,
      nfe: stop.nfe, wrote: stop.wrote ? stop.wrote.commit + stop.wrote.resample : NaN,
      remasked: stop.wrote ? stop.wrote.remask : 0,
    };
    return stop.stats;
  }

  // ---------------------------------------------------------------- state and messages

  function initial() {
    return {
      runs: new Map(), last: null, shown: null, draft: null, onDraft: false, // `last`, `shown`: run ids
      at: 0, following: true, playing: null, speed: 1, share: SHARE, // `at`: index of the stop on show
      edits: new Map(), // stop key -> the row after each edit
      sentTexts: [], selection: null, hover: null,
      waiting: null, notice: '',
      early: new Map(), fetching: new Map(), lost: new Set(), // messages that came out of order, by run
    };
  }

  const runShown = (state) => (state.onDraft ? state.draft : state.runs.get(state.shown) || null);
  function stopShown(state) {
    const run = runShown(state);
    return run ? run.stops[Math.min(state.at, run.stops.length - 1)] : null;
  }

  function isLive(state) {
    const run = state.runs.get(state.last);
    return Boolean(run && run.status === 'running');
  }

  const isBusy = (state) => isLive(state) || Boolean(state.waiting);

  const withRun = (state, run) => ({...state, runs: new Map(state.runs).set(run.id, run)});

  function show(state, id, at) {
    const next = {...state, last: id, shown: id, onDraft: false, at, playing: null, notice: ''};
    return {...next, ...keepSelection(state, null)};
  }

  // A selection means a place in one row: it survives a change of row only if that place still exists.
  function keepSelection(state, length) {
    if (length === null) return {selection: null, hover: null};
    const fits = state.selection && Math.max(state.selection.anchor, state.selection.focus) < length;
    return {selection: fits ? state.selection : null, hover: state.hover < length ? state.hover : null};
  }

  function openRun(state, message) {
    const vocab = new Map();
    learn(vocab, message.vocab);
    const stop = segmentStop(message.segment, `${message.run}:0`, message.head, null);
    const run = {
      id: message.run, head: message.head, vocab, stops: [stop], next: 1, status: 'running', say: '',
      seconds: NaN, parent: null, before: 0, rows: null, exact: null, clashes: null,
    };
    return show({...withRun(state, run), following: true, waiting: null}, run.id, 0);
  }

  // Where an edit was made a step has two stops: `part` says in which segment; the later one by default.
  function lastStopAt(run, step, part = null) {
    for (let i = run.stops.length - 1; i >= 0; i -= 1) {
      const stop = run.stops[i];
      if (stop.step === step && (part === null || stop.part === part)) return i;
    }
    return -1;
  }

  function addSegment(state, message) {
    const run = state.runs.get(message.run);
    learn(run.vocab, message.vocab);
    const before = run.stops[run.stops.length - 1];
    const stop = segmentStop(message.segment, `${run.id}:${message.n}`, run.head, before);
    return withStop(state, run, stop, message.n);
  }

  function withStop(state, run, stop, n) {
    const next = withRun(state, {...run, stops: [...run.stops, stop], next: n + 1});
    const follows = state.following && !state.playing && state.shown === run.id && !state.onDraft;
    return follows ? {...next, at: run.stops.length} : next;
  }

  function branchRun(state, message) {
    const base = state.runs.get(message.from);
    const index = lastStopAt(base, message.step, message.fromSegment);
    need(index >= 0, `run ${message.from} has no step ${message.step}`);
    const before = base.stops[index];
    const head = {...base.head, ...(message.head || {})};
    learn(base.vocab, message.vocab);
    const stops = base.stops.slice(0, index + 1);
    if (message.segment) {
      const segment = {...message.segment, step: message.step};
      stops.push(segmentStop(segment, `${message.run}:0`, head, before));
    }
    const run = {
      id: message.run, head, vocab: base.vocab, stops, next: 1, status: 'running', say: '', seconds: NaN,
      parent: base.id, before: before.nfe, rows: null, exact: null, clashes: null,
    };
    const edits = new Map(state.edits);
    edits.delete(before.key); // they have become the run
    return show({...withRun(state, run), edits, following: true, waiting: null}, run.id, stops.length - 1);
  }

  function addFrame(state, message) {
    const run = state.runs.get(message.run);
    learn(run.vocab, message.vocab);
    const before = run.stops[run.stops.length - 1];
    const stop = frameStop(message, before, `${run.id}:${message.n}`, run.head);
    return withStop(state, run, stop, message.n);
  }

  function endRun(state, message) {
    need(['finished', 'stopped', 'failed'].includes(message.state), `unknown state ${message.state}`);
    const run = state.runs.get(message.run);
    const seconds = typeof message.seconds === 'number' ? message.seconds : NaN;
    const say = message.say || '';
    const rows = message.rows || null; // what a second look would cost
    return withRun(state, {...run, status: message.state, say, seconds, rows, next: message.n + 1});
  }

  /* What was worked out of a run after its end. Looks and commits are shared with the runs that it left and that
   * left it, so the numbers stand beside them, in tables of this run's own. */
  function addScores(state, message) {
    const run = state.runs.get(message.run);
    const exact = message.final ? exactOf(run, message.final) : run.exact;
    const clashes = message.hazard ? clashesOf(run, message.hazard) : run.clashes;
    return withRun(state, {...run, exact, clashes, next: message.n + 1});
  }

  // The stops that a step made, as far as `steps`; the others are the canvas before a step.
  function framesUpTo(run, steps) {
    const frames = run.stops.filter((stop) => stop.wrote).slice(0, steps);
    need(isInteger(steps) && frames.length === steps, `scores of ${steps} steps for ${frames.length}`);
    return frames;
  }

  /* {steps, of: look -> {p, rank, ends}}: probability and rank, by the look's rows, of the tokens `ends` that
   * stand where the look's segment ends; rank 0 where none does. */
  function exactOf(run, {steps, bytes, p: packed, rank: packedRanks}) {
    const p = new Uint16Array(bytesOf(packed).buffer), raw = bytesOf(packedRanks).buffer;
    const rank = bytes === 2 ? new Uint16Array(raw) : new Uint32Array(raw);
    const ends = new Map(run.stops.map((stop) => [stop.part, stop.tokens])); // the last of each part stays
    const of = new Map();
    let first = 0, before = null;
    for (const stop of framesUpTo(run, steps)) {
      const {look, part} = stop;
      if (look && look !== before) {
        const last = first + look.h.length;
        const chances = Float32Array.from(p.subarray(first, last), (x) => (x / 65535) ** 2);
        of.set(look, {p: chances, rank: rank.subarray(first, last), ends: ends.get(part)});
        first = last;
      }
      before = look;
    }
    need(p.length === first && rank.length === first, `${p.length} exact values for ${first} cells`);
    return {steps, of};
  }

  /* {steps, of: commit -> {p, was, others, step}}: probability of a token given the `others` that its step
   * committed, and what it was drawn with. */
  function clashesOf(run, {steps, p: packed, was: packedBefore}) {
    const p = new Float32Array(bytesOf(packed).buffer), was = new Float32Array(bytesOf(packedBefore).buffer);
    const of = new Map();
    let first = 0;
    for (const stop of framesUpTo(run, steps)) {
      const drawn = stop.set.map(([at, id], i) => [at, first + i, id]) // not what follows an end of text
        .filter(([, entry, id]) => id !== stop.mask && was[entry] > 0);
      for (const [at, entry] of drawn) {
        const commit = stop.commits[at];
        of.set(commit, {p: p[entry], was: was[entry], others: drawn.length - 1, step: stop.step});
      }
      first += stop.set.length;
    }
    need(p.length === first && was.length === first, `${p.length} commits for ${first}`);
    return {steps, of};
  }

  /* In single precision, as where the numbers come from. */
  const isClash = ({p, was, others}, share) => others > 0 && p < Math.fround(Math.fround(share) * was);

  const setShare = (state, share) => ({...state, share});

  function openDraft(state, message) {
    const vocab = new Map();
    learn(vocab, message.vocab);
    const serial = state.draft ? state.draft.serial + 1 : 0;
    const stop = segmentStop(message.segment, `draft:${serial}`, message.head, null);
    const run = {id: message.run, serial, head: message.head, vocab, stops: [stop], status: 'draft', say: ''};
    const edits = new Map(state.edits);
    if (state.draft) edits.delete(state.draft.stops[0].key);
    const kept = state.onDraft ? keepSelection(state, stop.tokens.length) : keepSelection(state, null);
    const fresh = {draft: run, onDraft: true, at: 0, playing: null, edits, waiting: null, notice: ''};
    const next = {...state, ...fresh, ...kept};
    const sent = state.sentTexts[state.sentTexts.length - 1];
    return sent && sent.after === wholeText(next) ? next : {...next, sentTexts: []};
  }

  function openTrace(state, message) {
    need(Array.isArray(message.m) && message.m.length > 0, 'trace without messages');
    const runs = new Map(state.runs);
    for (const part of message.m) runs.delete(part.run);
    let next = {...state, runs};
    for (const part of message.m) next = applyOne(next, part);
    const id = message.m[message.m.length - 1].run;
    const run = next.runs.get(id);
    need(run, 'trace without a run');
    const status = run.status === 'running' ? 'finished' : run.status;
    next = withRun(next, {...run, status, stored: true});
    return show({...next, waiting: null}, id, run.stops.length - 1);
  }

  const APPLY = {
    open: openRun, branch: branchRun, segment: addSegment, frame: addFrame, end: endRun, scores: addScores,
    draft: openDraft, trace: openTrace,
  };
  const SENTENCES = { // of no run: what went wrong, or what is being waited for
    say: (state, text) => ({...state, notice: text, waiting: null}),
    wait: (state, text) => ({...state, notice: '', waiting: {text}, playing: null}),
  };
  const applyOne = (state, message) => APPLY[message.k](state, message);

  function prune(state) {
    if (state.runs.size <= RUNS_KEPT) return state;
    const needed = new Set([state.shown]);
    for (let id = state.last; state.runs.has(id) && needed.size < RUNS_KEPT; id = state.runs.get(id).parent) {
      needed.add(id);
    }
    const runs = new Map(state.runs);
    for (const id of state.runs.keys()) if (runs.size > RUNS_KEPT && !needed.has(id)) runs.delete(id);
    const alive = new Set();
    for (const run of runs.values()) for (const stop of run.stops) alive.add(stop.key);
    if (state.draft) alive.add(state.draft.stops[0].key);
    const edits = new Map([...state.edits].filter(([key]) => alive.has(key)));
    return {...state, runs, edits};
  }

  /* One message. Returns {state, fetch, warning}: `fetch` {run, n} asks the caller for the messages of a
   * run from n on (hand them to `supply`); `warning` says why a message was ignored. */
  function receive(state, message) {
    const result = (next, fetch = null, warning = '') => ({state: next, fetch, warning});
    if (!message || typeof message !== 'object' || !(message.k in APPLY || message.k in SENTENCES)) {
      return result(state, null, `unknown message ${message && message.k}`);
    }
    if (message.k in SENTENCES) return result(SENTENCES[message.k](state, String(message.text || '')));
    if (message.k === 'trace' || message.k === 'draft') return attempt(state, message);
    if (typeof message.run !== 'string' || !isInteger(message.n)) {
      return result(state, null, 'message without run or n');
    }
    const run = state.runs.get(message.run);
    if (run && message.n < run.next) return result(state);
    if (message.k === 'open' && message.n === 0) return attempt(state, message);
    if (message.k === 'branch' && message.n === 0) {
      if (state.runs.has(message.from)) return attempt(state, message);
      return hold(state, message, message.from, 0); // the run it leaves has to come first
    }
    if (!run) return hold(state, message, message.run, 0);
    if (message.n > run.next) return hold(state, message, message.run, run.next);
    return attempt(state, message);
  }

  function attempt(state, message) {
    try {
      return {state: prune(applyOne(state, message)), fetch: null, warning: ''};
    } catch (error) {
      const run = state.runs.get(message.run);
      // A frame that cannot be read counts as seen: asking for it again would bring the same.
      const skip = run && message.n === run.next && message.k !== 'trace' && message.k !== 'draft';
      const next = skip ? withRun(state, {...run, next: run.next + 1}) : state;
      return {state: next, fetch: null, warning: `ignored a malformed ${message.k}: ${error.message}`};
    }
  }

  function hold(state, message, run, n) {
    if (state.lost.has(run)) return {state, fetch: null, warning: ''}; // asked before, in vain
    const early = new Map(state.early).set(run, [...(state.early.get(run) || []), message]);
    if (state.fetching.has(run)) return {state: {...state, early}, fetch: null, warning: ''};
    const fetching = new Map(state.fetching).set(run, n);
    return {state: {...state, early, fetching}, fetch: {run, n}, warning: ''};
  }

  /* The answer to a fetch: `messages` in order, null when there was none. What had arrived early follows. */
  function supply(state, run, messages) {
    const held = state.early.get(run) || [];
    const early = new Map(state.early), fetching = new Map(state.fetching);
    const asked = fetching.get(run);
    early.delete(run);
    fetching.delete(run);
    let next = {...state, early, fetching}, warning = '';
    const pass = (message) => {
      const known = next.runs.get(message && message.run);
      const fits = message && (known ? message.n <= known.next : message.n === 0);
      if (!fits) return false;
      const step = receive(next, message);
      next = step.state;
      warning = warning || step.warning;
      return true;
    };
    (messages || []).forEach(pass);
    const left = held.sort((a, b) => a.n - b.n).filter((message) => !pass(message));
    const owner = next.runs.get(run);
    if (!left.length) return {state: next, fetch: null, warning};
    if (owner && owner.next > asked) return hold(next, left[left.length - 1], run, owner.next);
    if (owner && owner.status === 'running') {
      const say = 'Some steps did not arrive. What is here can still be read.';
      next = withRun(next, {...owner, status: 'failed', say});
    }
    return {
      state: {...next, waiting: null, lost: new Set(next.lost).add(run)}, fetch: null,
      warning: `messages of run ${run} could not be had`,
    };
  }

  // ---------------------------------------------------------------- edits

  /* A row is what stands on the canvas, edits included: cells {from, mask, id, text, lock}. `from` is the
   * position at the stop (null: a mask that the visitor added), the rest is what the visitor made of it. */
  const plainCell = (from, lock) => ({from, mask: false, id: null, text: null, lock});

  function rowOf(stop) {
    const locked = (at) => Boolean(stop.flags[at] & LOCKED);
    if (!stop.row) stop.row = Array.from(stop.tokens, (_, at) => plainCell(at, locked(at)));
    return stop.row;
  }

  function rowShown(state) {
    const stop = stopShown(state);
    if (!stop) return [];
    const history = state.edits.get(stop.key);
    return history ? history[history.length - 1] : rowOf(stop);
  }

  const isEdited = (cell) => cell.mask || cell.id !== null || cell.text !== null;
  const isMask = (stop, cell) => cell.mask || (!isEdited(cell) && stop.tokens[cell.from] === stop.mask);
  const sameCell = (a, b) => ['from', 'mask', 'id', 'text', 'lock'].every((key) => a[key] === b[key]);
  const sameRow = (a, b) => a.length === b.length && a.every((cell, i) => sameCell(cell, b[i]));
  const editsOf = (state, stop) => (stop && state.edits.get(stop.key)) || [];
  const editCount = (state) => editsOf(state, stopShown(state)).length;

  // Why nothing can be edited now, or '' when it can.
  function editReason(state) {
    if (!stopShown(state)) return 'There is nothing to edit yet.';
    if (state.waiting) return 'Waiting for the model.';
    if (isLive(state)) return 'Editing opens when the run stops.';
    return '';
  }

  function edit(state, change) {
    const stop = stopShown(state);
    if (editReason(state)) return state;
    const before = rowShown(state), after = change(before, stop);
    if (sameRow(before, after)) return state;
    const edits = new Map(state.edits);
    if (sameRow(after, rowOf(stop))) edits.delete(stop.key);
    else edits.set(stop.key, [...(edits.get(stop.key) || []), after].slice(-EDITS_KEPT));
    return {...state, edits, playing: null, notice: '', ...keepSelection(state, after.length)};
  }

  const eachIn = (row, a, b, change) => row.map((cell, i) => (i >= a && i <= b ? change(cell, i) : cell));

  const maskSpan = (state, a, b) => edit(state, (row, stop) => eachIn(row, a, b, (cell) => (
    isMask(stop, cell) ? cell : {from: cell.from, mask: true, id: null, text: null, lock: false})));

  const canUnmask = (stop, cell) => cell.mask && cell.from !== null && stop.tokens[cell.from] !== stop.mask;

  const unmaskSpan = (state, a, b) => edit(state, (row, stop) => eachIn(row, a, b, (cell) => (
    canUnmask(stop, cell) ? rowOf(stop)[cell.from] : cell)));

  const forceToken = (state, at, id) => edit(state, (row, stop) => eachIn(row, at, at, (cell) => {
    const standsThere = cell.from !== null && stop.tokens[cell.from] === id;
    return standsThere ? rowOf(stop)[cell.from] : {...plainCell(cell.from, cell.lock), id};
  }));

  function typeText(state, a, b, text) {
    if (!text) return state;
    const typed = (row) => ({...plainCell(row[a].from, row[a].lock), text});
    const next = edit(state, (row) => [...row.slice(0, a), typed(row), ...row.slice(b + 1)]);
    return next === state ? state : {...next, selection: {anchor: a, focus: a}};
  }

  // Prompt and forced tokens never change, so only what the run wrote can be locked.
  const isHeld = (bits) => Boolean(bits & FORCED || (bits & FIXED && !(bits & LOCKED)));
  const canLock = (stop, cell) => !isEdited(cell) && !isMask(stop, cell) && !isHeld(stop.flags[cell.from]);

  const lockSpan = (state, a, b, on) => edit(state, (row, stop) => eachIn(row, a, b, (cell) => (
    canLock(stop, cell) ? {...cell, lock: on} : cell)));

  // First and last index of the masks that stand together with index i; null where no mask is.
  function maskRun(row, stop, i) {
    if (!row[i] || !isMask(stop, row[i])) return null;
    let a = i, b = i;
    while (a > 0 && isMask(stop, row[a - 1])) a -= 1;
    while (b + 1 < row.length && isMask(stop, row[b + 1])) b += 1;
    return [a, b];
  }

  function resizeRun(state, i, count) {
    const row = rowShown(state), run = maskRun(row, stopShown(state), i);
    const limit = (runShown(state).head.limit || 1024) - row.length;
    if (!run || count < 1) return state;
    const [a, b] = run, length = b - a + 1;
    const wanted = Math.min(count, length + Math.max(0, limit));
    const extra = Array(Math.max(0, wanted - length)).fill({...plainCell(null, false), mask: true});
    const kept = row.slice(0, Math.min(b + 1, a + wanted));
    const next = edit(state, () => [...kept, ...extra, ...row.slice(b + 1)]);
    const end = a + wanted - 1;
    const clip = (at) => (at <= b ? Math.min(at, end) : at);
    const chosen = state.selection;
    const selection = chosen && {anchor: clip(chosen.anchor), focus: clip(chosen.focus)};
    return next === state ? state : {...next, selection};
  }

  function undo(state) {
    const stop = stopShown(state);
    const history = stop && state.edits.get(stop.key);
    if (!history) return state;
    const edits = new Map(state.edits);
    if (history.length > 1) edits.set(stop.key, history.slice(0, -1));
    else edits.delete(stop.key);
    const next = {...state, edits};
    return {...next, ...keepSelection(state, rowShown(next).length)};
  }

  function discard(state) {
    const stop = stopShown(state);
    if (!stop || !state.edits.has(stop.key)) return state;
    const edits = new Map(state.edits);
    edits.delete(stop.key);
    return {...state, edits, ...keepSelection(state, stop.tokens.length)};
  }

  // Edits that wait at another step of the run on show: {index, step, count}, or null.
  function parkedEdits(state) {
    const run = runShown(state), here = stopShown(state);
    if (!run || !state.edits.size) return null;
    for (let index = run.stops.length - 1; index >= 0; index -= 1) {
      const stop = run.stops[index];
      const count = stop === here ? 0 : editsOf(state, stop).length;
      if (count) return {index, step: stop.step, count};
    }
    return null;
  }

  function wireCell(cell) {
    const out = {};
    if (cell.from !== null) out.from = cell.from;
    if (cell.mask || cell.from === null) out.mask = true; // what was never there began as a new mask
    if (cell.id !== null) out.id = cell.id;
    if (cell.text !== null) out.text = cell.text;
    if (cell.lock) out.lock = true;
    return out;
  }

  /* Whether the run can go on from the stop on show: {offered, reason}; a reason says why it cannot, with
   * the way out. */
  function continuing(state) {
    const run = runShown(state), stop = stopShown(state);
    if (!run || state.onDraft) return {offered: false, reason: ''};
    const edited = state.edits.has(stop.key), newest = state.at >= run.stops.length - 1;
    const masks = rowShown(state).some((cell) => isMask(stop, cell));
    if (isBusy(state)) return {offered: edited, reason: editReason(state)};
    if (edited && !masks) {
      return {offered: true, reason: 'Nothing is masked, so there is nothing to fill: mask a word too.'};
    }
    const left = masks || Boolean(run.head.rewrites); // a sampler that rewrites has steps to take without a mask, too
    return {offered: edited || (left && (!newest || run.status !== 'finished')), reason: ''};
  }

  // {run, step, segment, cells} for the "resume" event; cells are null when nothing was edited.
  function resumeRequest(state) {
    const run = runShown(state), stop = stopShown(state);
    const cells = state.edits.has(stop.key) ? rowShown(state).map(wireCell) : null;
    return {run: run.id, step: stop.step, segment: stop.part, cells};
  }

  const wait = (state) => ({...state, waiting: resumeRequest(state), notice: '', playing: null});
  const stopWaiting = (state, notice) => ({...state, waiting: null, notice});

  // ---------------------------------------------------------------- the row as text

  const startsWithSpace = (text) => text.startsWith(' ');

  function partOf(state, stop, cell) {
    const vocab = runShown(state).vocab;
    if (isMask(stop, cell)) return null;
    if (cell.text !== null) return cell.text;
    if (cell.id !== null) return tokenPart(vocab, cell.id);
    return stop.own.has(cell.from) ? stop.own.get(cell.from) : tokenPart(vocab, stop.tokens[cell.from]);
  }

  function guessOf(state, stop, at) {
    const belief = stop.tokens[at] === stop.mask ? beliefs(stop, at) : null;
    if (!belief || !belief.candidates.length) return null;
    const [{id, p}] = belief.candidates;
    return {text: tokenText(runShown(state).vocab, id), p, entropy: belief.entropy};
  }

  /* A space before a masked run belongs to the run. Known for a token that the visitor masked and where the
   * segment says so (`spaced`, `unspaced`; a draft's `spaced` is all there is); else the best guess tells,
   * else ordinary spelling. */
  function runTakesSpace(state, stop, cell, textBefore) {
    if (cell.from !== null && stop.tokens[cell.from] !== stop.mask) {
      return startsWithSpace(tokenText(runShown(state).vocab, stop.tokens[cell.from]));
    }
    if (cell.from !== null && stop.spaced) {
      if (stop.spaced.has(cell.from)) return true;
      if (state.onDraft || stop.unspaced.has(cell.from)) return false;
    }
    const guess = cell.from === null ? null : guessOf(state, stop, cell.from);
    if (guess) return startsWithSpace(guess.text);
    return textBefore !== '' && !/[\s([{“‘"'—-]$/.test(textBefore);
  }

  // The whole row as text that can be typed back: a run of n masks is [MASK] or [MASK:n].
  function wholeText(state) {
    const stop = stopShown(state);
    if (!stop) return '';
    const all = rowShown(state), row = all.slice(0, all.length - tailOf(state));
    const pieces = alignText(row.map((cell) => partOf(state, stop, cell)));
    let text = '';
    for (let i = 0; i < row.length; i += 1) {
      if (!isMask(stop, row[i])) { text += pieces[i].plain; continue; }
      const first = i;
      while (i + 1 < row.length && isMask(stop, row[i + 1])) i += 1;
      const count = i - first + 1;
      const space = runTakesSpace(state, stop, row[first], text) ? ' ' : '';
      text += `${space}[MASK${count > 1 ? `:${count}` : ''}]`;
    }
    return text;
  }

  // Masks at the end of a draft that come from the length setting and not from the text.
  function tailOf(state) {
    const stop = stopShown(state), row = rowShown(state);
    if (!state.onDraft || !stop || !stop.tail) return 0;
    const begin = stop.tokens.length - stop.tail;
    const at = row.findIndex((cell) => cell.from !== null && cell.from >= begin);
    return at < 0 ? 0 : row.length - at;
  }

  function textRequest(state) {
    const stop = stopShown(state), text = wholeText(state);
    return state.onDraft && stop && stop.tail ? {text, tail: tailOf(state)} : {text};
  }

  // A draft has no run to undo in: what it was is remembered as text.
  function rememberText(state, before, after) {
    return {...state, sentTexts: [...state.sentTexts, {before, after: after.text}]};
  }

  function takeBackText(state) {
    const sent = state.sentTexts[state.sentTexts.length - 1];
    if (!sent) return {state, request: null};
    const rest = state.sentTexts.slice(0, -1);
    return {state: {...state, sentTexts: rest}, request: sent.before};
  }

  // ---------------------------------------------------------------- what the canvas shows

  function cellOf(state, stop, cell, index, piece, before) {
    const from = cell.from, masked = isMask(stop, cell), untouched = !isEdited(cell);
    const {clashes} = runShown(state);
    const bits = from === null ? 0 : stop.flags[from];
    const commit = untouched && from !== null ? stop.commits[from] : null;
    const guess = masked && from !== null && untouched ? guessOf(state, stop, from) : null;
    const belief = commit && commit.look ? entropyOf(commit.look.h[commit.row], commit.look.hmax) : NaN;
    const given = commit && clashes ? clashes.of.get(commit) : null;
    const [gap, ink] = splitGap(masked ? (guess ? guess.text : '') : piece.text);
    const wasLocked = Boolean(bits & LOCKED);
    return {
      index, from, masked, gap, ink, part: masked ? '' : piece.part,
      begins: !before || before.text.endsWith('\n'), // a line
      kind: masked ? 'mask' : untouched && bits & FIXED && !(bits & (FORCED | LOCKED)) ? 'prompt' : 'token',
      confidence: guess ? guess.p : NaN,
      p: commit ? commit.p : NaN,
      entropy: guess ? guess.entropy : belief,
      step: commit ? commit.step : NaN,
      given: given && given.others ? given : null,
      clash: Boolean(given && isClash(given, state.share)),
      fresh: untouched && Boolean(bits & NEW),
      forced: cell.id !== null || cell.text !== null || (untouched && Boolean(bits & FORCED)),
      locked: cell.lock,
      remasked: untouched && masked && Boolean(bits & REMASKED),
      // Under noise of words nearly every word has replaced another: only the step that did so marks it.
      resampled: untouched && !masked && Boolean(bits & RESAMPLED)
        && (Boolean(bits & NEW) || !noiseIsWords(runShown(state).head)),
      noise: untouched && !masked && Boolean(bits & NOISE),
      pending: !untouched || cell.lock !== wasLocked,
      typed: cell.text !== null,
    };
  }

  /* The cells to draw at the stop on show, one for each place in the row. The same array comes back as long
   * as neither the stop nor its edits have changed, nor what is known of clashes. */
  const views = new WeakMap();
  function cells(state) {
    const stop = stopShown(state);
    if (!stop) return [];
    const row = rowShown(state), {share} = state, {clashes = null} = runShown(state);
    const cached = views.get(stop);
    const kept = cached && cached.row === row && cached.clashes === clashes && (!clashes || cached.share === share);
    if (kept) return cached.cells;
    const pieces = alignText(row.map((cell) => partOf(state, stop, cell)));
    const made = row.map((cell, i) => cellOf(state, stop, cell, i, pieces[i], pieces[i - 1]));
    views.set(stop, {row, clashes, share, cells: made});
    return made;
  }

  const number = (index) => index + 1; // people count from one; the messages count from zero
  const fixed2 = (x) => (x >= 0 ? x.toFixed(2) : '–');

  // Two digits that count, without the zero before the point.
  function small(p) {
    if (!(p >= 0)) return '–';
    if (p > 0 && p < 0.0001) return '<.0001';
    return p < 0.1 && p > 0 ? Number(p.toPrecision(2)).toString().replace(/^0/, '') : p.toFixed(2).replace(/^0/, '');
  }

  const givenWords = ({p, was, others}) => (
    `given the ${others === 1 ? 'other' : `${others} others`} of its step ${small(p)}, was ${small(was)}`);

  function describe(cell) {
    const words = [];
    if (cell.masked) {
      words.push(cell.pending ? 'will be masked' : cell.remasked ? 'masked again' : 'masked');
      const guess = `best guess ${cell.ink || 'space'} with probability ${fixed2(cell.confidence)}`;
      if (cell.confidence >= 0) words.push(guess);
    } else {
      if (cell.pending && cell.forced) words.push(`${cell.typed ? 'typed' : 'forced'} by you, pending`);
      else if (cell.forced) words.push('forced by you');
      else if (cell.noise) words.push('a random word of the noise, not changed yet');
      else if (cell.kind === 'prompt') words.push('prompt');
      else if (!(cell.step >= 0) && !cell.pending) words.push('the nearest word from the beginning');
      else if (cell.step >= 0) {
        words.push(`${cell.resampled ? 'resampled' : 'committed'} at step ${cell.step}`);
        if (cell.p >= 0) words.push(`probability ${fixed2(cell.p)}`);
        if (cell.clash) words.push(`clashes: ${givenWords(cell.given)}`);
      }
    }
    if (cell.locked) words.push('locked');
    return words.join(', ');
  }

  function spoken(cell) {
    const seen = visible(cell.ink || cell.gap).filter((segment) => segment.kind !== 'break');
    const whole = cell.part ? `part of ${cell.part}` : seen.map((segment) => segment.text).join('');
    const text = cell.masked ? '' : whole;
    return [`token ${number(cell.index)}`, text, describe(cell)].filter(Boolean).join(', ');
  }

  // Marks that occur anywhere in the run: the legend names these, and so stays the same while scrubbing.
  function marksOf(run) {
    const names = ['prompt', 'filled', 'mask', 'noise', 'forced', 'locked', 'remasked', 'resampled', 'clash'];
    const marks = Object.fromEntries(names.map((name) => [name, false]));
    if (!run) return marks;
    if (run.clashes) for (const {others} of run.clashes.of.values()) if (others) marks.clash = true;
    const see = (stop) => stop.flags.forEach((bits, at) => {
      const masked = stop.tokens[at] === stop.mask;
      if (masked) marks.mask = true;
      else if (bits & FIXED) marks.prompt = true;
      else if (bits & NOISE) marks.noise = true;
      else marks.filled = true;
      if (bits & FORCED) marks.forced = true;
      if (bits & LOCKED) marks.locked = true;
      if (bits & REMASKED) marks.remasked = true;
      if (bits & RESAMPLED) marks.resampled = true;
    });
    see(run.stops[0]);
    see(run.stops[run.stops.length - 1]);
    for (const stop of run.stops) {
      if (stop.edited) see(stop);
      if (stop.wrote && stop.wrote.remask) marks.remasked = true;
      if (stop.wrote && stop.wrote.again) marks.resampled = true;
    }
    return marks;
  }

  function span(state) { // first and last selected place, or null
    if (!state.selection) return null;
    const {anchor, focus} = state.selection;
    return [Math.min(anchor, focus), Math.max(anchor, focus)];
  }

  const select = (state, anchor, focus) => ({...state, selection: {anchor, focus}, hover: focus});
  const unselect = (state) => ({...state, selection: null});
  const hover = (state, index) => (state.hover === index ? state : {...state, hover: index});

  /* The run's own words that stood at a position before the one that stands there, oldest first, each with the steps
   * from which and up to which it stood; since the last edit. */
  function pastOf(state, stop, at) {
    const {stops, vocab} = runShown(state), own = [];
    for (const {part, step, tokens, flags, mask} of stops.slice(0, stops.indexOf(stop) + 1)) {
      if (part !== stop.part) continue;
      const id = flags[at] & (NOISE | FIXED) || tokens[at] === mask ? null : tokens[at];
      const last = own[own.length - 1];
      if (last && last.id === id) last.to = step;
      else own.push({id, text: id === null ? '' : tokenText(vocab, id), from: step, to: step});
    }
    return own.slice(0, -1).filter(({id}) => id !== null);
  }

  /* What the inspector says about the token under the pointer or the selection; null when there is none. */
  function inspect(state) {
    const stop = stopShown(state), run = runShown(state), row = rowShown(state);
    const range = span(state), index = range ? state.selection.focus : state.hover;
    if (!stop || index === null || !row[index]) return null;
    const cell = cells(state)[index], raw = row[index];
    const belief = raw.from === null ? null : beliefs(stop, raw.from);
    const [a, b] = range || [index, index];
    const inRange = row.slice(a, b + 1);
    const masks = maskRun(row, stop, index);
    const standing = cell.masked ? null : isEdited(raw) ? raw.id : stop.tokens[raw.from];
    const candidates = (belief ? belief.candidates : []).map(({id, p}) => ({
      id, p, text: tokenText(run.vocab, id), chosen: id === standing,
    }));
    const forced = candidates.find((candidate) => candidate.chosen);
    const original = raw.from === null ? null : partOf(state, stop, plainCell(raw.from, false));
    return {
      index, cell, a, b, count: b - a + 1, number: number(index), step: stop.step, edited: stop.edited,
      committed: Boolean(belief && belief.committed), beliefStep: belief ? belief.step : NaN,
      entropy: belief ? belief.entropy : NaN, candidates, past: raw.from === null ? [] : pastOf(state, stop, raw.from),
      pinned: Boolean(range),
      p: raw.id === null ? cell.p : forced ? forced.p : NaN,
      replaced: isEdited(raw) && original !== null ? alignText([original])[0].text : '',
      canMask: inRange.some((c) => !isMask(stop, c)),
      canUnmask: inRange.some((c) => canUnmask(stop, c)),
      canLock: inRange.some((c) => canLock(stop, c)),
      allLocked: inRange.every((c) => !canLock(stop, c) || c.lock),
      masks: masks ? masks[1] - masks[0] + 1 : 0,
      room: Math.max(0, (run.head.limit || 1024) - row.length),
      spaceBefore: typedTakesSpace(state, stop, a),
    };
  }

  function typedTakesSpace(state, stop, a) {
    const row = rowShown(state), cell = row[a];
    if (cell.text !== null) return startsWithSpace(cell.text);
    if (cell.id !== null) return startsWithSpace(tokenText(runShown(state).vocab, cell.id));
    const before = a > 0 ? alignText([partOf(state, stop, row[a - 1])])[0].plain || 'x' : '';
    if (isMask(stop, cell)) return runTakesSpace(state, stop, cell, before);
    return startsWithSpace(alignText([partOf(state, stop, cell)])[0].plain);
  }

  // ---------------------------------------------------------------- player

  const lastIndex = (state) => { const run = runShown(state); return run ? run.stops.length - 1 : 0; };

  function goTo(state, index) {
    const last = lastIndex(state), at = Math.max(0, Math.min(last, Math.round(index)));
    const run = runShown(state);
    if (!run || (at === state.at && !state.playing)) return {...state, playing: null, following: at === last};
    const next = {...state, at, playing: null, following: at === last};
    return {...next, ...keepSelection(state, rowShown(next).length)};
  }

  function play(state, now) {
    const last = lastIndex(state);
    if (state.onDraft || !last) return state;
    const from = state.at >= last && !isLive(state) ? 0 : state.at;
    return {...goTo(state, from), playing: {from, start: now}, following: false};
  }

  const pause = (state) => (state.playing ? {...state, playing: null} : state);

  // How far playing has come: one stop every 120 ms at 1x, several at once where a run would take over 8 s.
  function playedTo(from, elapsed, count, speed) {
    const stride = Math.max(1, Math.ceil((count * STEP_MS) / LONGEST_PLAY_MS));
    const passed = Math.max(0, elapsed); // a frame's time can lie before the press that it follows
    return Math.min(count - 1, from + Math.floor((passed * speed) / STEP_MS) * stride);
  }

  function tick(state, now) {
    if (!state.playing) return state;
    const last = lastIndex(state);
    const at = playedTo(state.playing.from, now - state.playing.start, last + 1, state.speed);
    const next = at === state.at ? state : {...state, at};
    const moved = next === state ? state : {...next, ...keepSelection(state, rowShown(next).length)};
    return at >= last ? {...moved, playing: null, following: true} : moved;
  }

  function setSpeed(state, speed, now) {
    return {...state, speed, playing: state.playing && {from: state.at, start: now}};
  }

  const catchUp = (state) => goTo({...state, playing: null}, lastIndex(state));

  // Slider: `have` stops are there, `max` is where the run is going to end if it takes every step.
  function player(state) {
    const run = runShown(state), stop = stopShown(state);
    if (!run || state.onDraft) {
      return {enabled: false, at: 0, have: 0, max: 1, step: 0, of: 0, ticks: [], live: false};
    }
    const last = run.stops.length - 1, newest = run.stops[last], running = run.status === 'running';
    const planned = Math.max(run.head.steps || 0, newest.step);
    return {
      enabled: last > 0, at: Math.min(state.at, last), have: last,
      max: Math.max(1, running ? last + planned - newest.step : last),
      step: stop.step, of: run.status === 'finished' ? newest.step : planned, edited: stop.edited,
      ticks: run.stops.map((s, i) => (s.edited ? i : -1)).filter((i) => i >= 0), live: running,
      following: state.following && state.at >= last,
    };
  }

  function runOf(state, id) {
    if (!state.runs.has(id)) return state;
    const at = state.runs.get(id).stops.length - 1;
    return {...show(state, id, at), last: state.last, following: true};
  }

  const backToRun = (state) => runOf(state, state.last);

  // ---------------------------------------------------------------- sentences

  const plural = (n, one) => `${n} ${one}${n === 1 ? '' : 's'}`;

  // {kind, text}: the state of the block in one sentence.
  function status(state) {
    const run = runShown(state);
    if (state.notice) return {kind: 'notice', text: state.notice};
    if (state.waiting) return {kind: 'loading', text: state.waiting.text || 'Waiting for the model…'};
    if (!run) return {kind: 'empty', text: 'Nothing here yet. Write something above and press Denoise.'};
    if (run.status === 'draft') {
      const stop = stopShown(state), masks = rowShown(state).filter((cell) => isMask(stop, cell)).length;
      if (!masks) {
        const way = 'drag over words to mask them, or write [MASK] in the text.';
        return {kind: 'draft', text: `No masks yet: ${way}`};
      }
      return {kind: 'draft', text: `Press Denoise to fill the ${masks === 1 ? 'mask' : `${masks} masks`}.`};
    }
    if (run.status === 'running') return {kind: 'running', text: 'Denoising…'};
    const newest = run.stops[run.stops.length - 1];
    if (run.status === 'failed') return {kind: 'failed', text: run.say || 'This run failed.'};
    if (run.status === 'stopped') {
      const where = `Stopped at step ${newest.step} of ${run.head.steps}`;
      const said = run.say ? ` ${run.say}` : '';
      return {kind: 'stopped', text: `${where}: what is here can be edited and continued.${said}`};
    }
    if (run.say) return {kind: 'finished', text: run.say};
    if (run.head.note) return {kind: 'finished', text: run.head.note + takenBack(run)};
    const took = run.seconds >= 0 ? ` in ${run.seconds.toFixed(1)} s` : '';
    const ending = 'Point at any token to see what else it could have been.';
    return {kind: 'finished', text: `Finished: ${plural(newest.step, 'step')}${took}.${takenBack(run)} ${ending}`};
  }

  /* How often a run replaced or masked again what it had written itself, as a sentence with a space before it. */
  function takenBack(run) {
    const times = run.stops.reduce((sum, {wrote}) => sum + (wrote ? wrote.again + wrote.remask : 0), 0);
    if (!times) return '';
    const often = times === 1 ? 'once' : `${times} times`;
    return run.head.noise === 'gaussian' // whose words nobody wrote: they are what is nearest
      ? ` Nearest words changed ${often} on the way.` : ` It took back a word of its own ${often}.`;
  }

  function headline(run) {
    if (!run || !run.head) return '';
    const head = run.head, parts = [];
    if (head.checkpoint) parts.push(head.checkpoint);
    if (head.sampler) parts.push(head.sampler);
    if (head.draw === 'argmax') parts.push('argmax');
    else if (head.draw) parts.push(head.draw);
    if (head.draw === 'sample' && head.temperature >= 0) parts.push(`temperature ${head.temperature}`);
    if (head.seed !== undefined && head.seed !== null) parts.push(`seed ${head.seed}`);
    return parts.join(' · ');
  }

  return {
    FIXED, FORCED, LOCKED, REMASKED, RESAMPLED, NEW, NOISE, SHARE, noiseIsWords,
    bytesOf, probabilityOf, entropyOf, alignText, visible, splitGap, tokenText, encoder,
    initial, receive, supply, beliefs, stats, cells, inspect, describe, spoken, marksOf, number,
    runShown, stopShown, rowShown, isLive, isBusy, editReason, editCount, parkedEdits, continuing,
    resumeRequest, wait, stopWaiting, isClash, setShare, small, givenWords,
    maskSpan, unmaskSpan, forceToken, typeText, lockSpan, resizeRun, maskRun, undo, discard,
    wholeText, textRequest, rememberText, takeBackText, span, select, unselect, hover,
    goTo, play, pause, tick, playedTo, setSpeed, catchUp, player, lastIndex, runOf, backToRun,
    status, headline,
  };
})();

if (typeof module !== 'undefined') module.exports = CanvasModel;
