/* A run as numbers to draw: positions x stops for the heatmap, one value a stop for the curves.
 *
 * Pure functions of the token canvas's run ({head, vocab, stops, status}); nothing else is asked for. Each
 * stop is a column: the start, every step, and the state after each edit, so a column is a place of the
 * player. What was not asked or is not known is NaN, never zero; OUTSIDE says that a token was asked about
 * and is none of the candidates that were kept. Where the run was looked at again (`run.exact`, `run.clashes`),
 * what was found then goes first.
 */
const RunSeries = ((M) => {
  'use strict';

  const OUTSIDE = -1;
  const MOST_ENTROPY = 8; // nats: the end of the fixed scale, as on the canvas

  /* ramp: "sure" is dark where the model is sure, "unsure" where it is not. */
  const QUANTITIES = {
    written: {title: 'probability when written', short: 'probability', ramp: 'sure', most: 1},
    entropy: {title: 'entropy', short: 'entropy', ramp: 'unsure', most: MOST_ENTROPY},
    final: {title: 'probability of the final token', short: 'probability', ramp: 'sure', most: 1},
    rank: {title: 'rank of the final token', short: 'rank', ramp: 'sure', most: NaN},
    margin: {title: 'first minus second candidate', short: 'margin', ramp: 'sure', most: 1},
    near: {title: 'distance to the nearest word', short: 'distance', ramp: 'unsure', most: 6, latent: true},
    lead: {title: 'second minus nearest distance', short: 'margin', ramp: 'sure', most: 4, latent: true},
  };
  /* Whether a quantity can be asked of a run: those of latents only where the run moves latents. */
  const isOf = (quantity, run) => !QUANTITIES[quantity].latent || Boolean(run && run.head.noise === 'gaussian');
  const isOpen = (quantity) => quantity === 'entropy' || Boolean(QUANTITIES[quantity].latent); // values go beyond `most`
  const ofFinal = (quantity) => quantity === 'final' || quantity === 'rank';

  // ---------------------------------------------------------------- columns, segments, final tokens

  /* Parts of the run between edits: [{part, from, to, length}], `from` and `to` the first and last column.
   * Positions may mean something else, and be more or fewer, in each. */
  function segments(run) {
    const found = [];
    run.stops.forEach((stop, column) => {
      const last = found[found.length - 1];
      if (last && last.part === stop.part) last.to = column;
      else found.push({part: stop.part, from: column, to: column, length: stop.tokens.length});
    });
    return found;
  }

  /* Where each position of one row stands in the next: the same place in a row as long, else what is alike at
   * both ends, -1 for what lies between. */
  function carried(before, after) {
    const length = before.length, to = new Int32Array(length).fill(-1);
    if (length === after.length) return to.map((_, at) => at);
    const most = Math.min(length, after.length);
    let head = 0, tail = 0;
    while (head < most && before[head] === after[head]) { to[head] = head; head += 1; }
    while (tail < most - head && before[length - 1 - tail] === after[after.length - 1 - tail]) {
      to[length - 1 - tail] = after.length - 1 - tail;
      tail += 1;
    }
    return to;
  }

  /* The token that stands at each position in the end, or does so far: one Int32Array for each part, -1
   * where a mask stands or the position did not last. */
  function finals(run, parts = segments(run)) {
    const newest = run.stops[run.stops.length - 1];
    let ids = newest.tokens.map((id) => (id === newest.mask ? -1 : id));
    const found = [ids];
    for (let i = parts.length - 2; i >= 0; i -= 1) {
      const way = carried(run.stops[parts[i].to].tokens, run.stops[parts[i + 1].from].tokens);
      const later = ids;
      ids = way.map((at) => (at < 0 ? -1 : later[at]));
      found.unshift(ids);
    }
    return found;
  }

  // ---------------------------------------------------------------- one cell

  const rowOf = (stop, at) => (stop.look ? stop.look.where[at] : -1);
  const chance = (look, row, j) => M.probabilityOf(look.p[row * look.k + j]);

  // Place of a token among the candidates kept, from 0; -1 where it is none of them.
  function placeOf(look, row, id) {
    for (let j = 0; j < look.k; j += 1) if (look.ids[row * look.k + j] === id) return j;
    return -1;
  }

  /* {p, rank} of the token `id` where a second look worked them out, else null. It did so for what stands at the
   * end of the look's segment, which after an edit may be something else than what stands in the end. */
  function exactAt(run, stop, at, row, id) {
    const found = run && run.exact && row >= 0 ? run.exact.of.get(stop.look) : null;
    return found && found.rank[row] > 0 && found.ends[at] === id ? {p: found.p[row], rank: found.rank[row]} : null;
  }

  const READ = {
    written: (stop, at) => (stop.commits[at] ? stop.commits[at].p : NaN),
    entropy: (stop, at, row) => (row < 0 ? NaN : M.entropyOf(stop.look.h[row], stop.look.hmax)),
    margin(stop, at, row) {
      return row < 0 || stop.look.k < 2 ? NaN : chance(stop.look, row, 0) - chance(stop.look, row, 1);
    },
    near: (stop, at, row) => (row < 0 || !stop.look.near ? NaN : stop.look.near[row] / 100),
    lead: (stop, at, row) => (row < 0 || !stop.look.lead ? NaN : stop.look.lead[row] / 100),
    final(stop, at, row, id, run) {
      const exact = exactAt(run, stop, at, row, id);
      if (exact) return exact.p;
      if (row < 0 || id < 0 || !stop.look.k) return NaN;
      const place = placeOf(stop.look, row, id);
      return place < 0 ? OUTSIDE : chance(stop.look, row, place);
    },
    rank(stop, at, row, id, run) {
      const exact = exactAt(run, stop, at, row, id);
      if (exact) return exact.rank;
      if (row < 0 || id < 0 || !stop.look.k) return NaN;
      const place = placeOf(stop.look, row, id);
      return place < 0 ? OUTSIDE : place + 1;
    },
  };

  /* A quantity at one position of a run's stop; `final` is the id that finally stands there, -1 when unknown. */
  const valueAt = (run, stop, at, quantity, final) => READ[quantity](stop, at, rowOf(stop, at), final, run);

  /* A quantity at all positions of a stop, Float32Array [length]. */
  function columnOf(run, stop, quantity, final) {
    const read = READ[quantity];
    return Float32Array.from(stop.tokens, (_, at) => read(stop, at, rowOf(stop, at), final[at], run));
  }

  /* The whole of it: {columns: [Float32Array], parts, finals, rows}; `rows` is the most positions of a part. */
  function matrix(run, quantity) {
    const parts = segments(run), ends = finals(run, parts);
    const columns = [];
    parts.forEach((part, i) => {
      for (let c = part.from; c <= part.to; c += 1) columns.push(columnOf(run, run.stops[c], quantity, ends[i]));
    });
    return {columns, parts, finals: ends, rows: Math.max(...parts.map((part) => part.length))};
  }

  /* Where the scale of ranks ends: the candidates kept, or with exact ranks the vocabulary. */
  const lastRank = (run) => (run.exact ? run.head.vocab_size || 0 : run.head.k || 0);

  /* Where a value lies on its fixed scale, 0 to 1; OUTSIDE and NaN stay what they are. Ranks go evenly over the
   * candidates kept, and by their logarithm over a vocabulary. */
  function shade(quantity, value, run) {
    if (!(value >= 0)) return value;
    if (quantity === 'rank') {
      const last = lastRank(run);
      if (last <= 1) return 1;
      const way = run.exact ? Math.log(value) / Math.log(last) : (value - 1) / (last - 1);
      return Math.min(1, Math.max(0, 1 - way));
    }
    return Math.min(1, Math.max(0, value / QUANTITIES[quantity].most));
  }

  const marked = new WeakMap(); // stop -> its marks; a stop has one stop before it, whoever shares it

  /* What a step changed: [{at, kind}], kind "commit" (over a mask, or over noise), "remask" or "resample". */
  function marks(stop, before) {
    if (!before || stop.edited) return [];
    if (marked.has(stop)) return marked.get(stop);
    const found = [];
    marked.set(stop, found);
    stop.tokens.forEach((id, at) => {
      const was = before.tokens[at];
      if (was === id) return;
      const first = was === before.mask || before.flags[at] & M.NOISE;
      found.push({at, kind: id === stop.mask ? 'remask' : first ? 'commit' : 'resample'});
    });
    return found;
  }

  const marksAt = (run, column) => marks(run.stops[column], run.stops[column - 1]);

  // ---------------------------------------------------------------- curves

  /* {gate, mean, entropy} over the positions of a stop that `counts` and that the denoiser looked at. */
  function meansOver(stop, counts) {
    const look = stop.look;
    let known = 0, gate = Infinity, sum = 0, entropy = 0;
    stop.tokens.forEach((id, at) => {
      const row = rowOf(stop, at);
      if (row < 0 || !counts(id)) return;
      const top = look.k ? chance(look, row, 0) : NaN;
      known += 1;
      gate = Math.min(gate, top);
      sum += top;
      entropy += M.entropyOf(look.h[row], look.hmax);
    });
    return known ? {gate, mean: sum / known, entropy: entropy / known} : {gate: NaN, mean: NaN, entropy: NaN};
  }

  const points = new WeakMap(); // stop -> its point; a stop never changes

  function pointOf(stop) {
    const known = points.get(stop);
    if (known) return known;
    const masks = stop.tokens.reduce((sum, id) => sum + (id === stop.mask ? 1 : 0), 0);
    const point = {
      step: stop.step, masks, nfe: Number.isFinite(stop.nfe) ? stop.nfe : NaN,
      wrote: stop.wrote ? stop.wrote.commit + stop.wrote.resample : NaN,
      ofMasks: meansOver(stop, (id) => id === stop.mask), ofAll: meansOver(stop, () => true),
    };
    points.set(stop, point);
    return point;
  }

  /* One array a curve, one value a column: step, gate (least confident mask), mean confidence, mean entropy of
   * the masks left, masks, wrote (tokens written by the step), nfe. A run without masks (`masked` false, as
   * under uniform noise) has gate, mean and entropy over every position that was looked at. */
  function curves(run) {
    const all = run.stops.map(pointOf), masked = all.some((point) => point.masks > 0);
    const series = (read) => Float64Array.from(all, read);
    const over = (point) => (masked ? point.ofMasks : point.ofAll);
    return {
      masked, step: series((p) => p.step),
      gate: series((p) => over(p).gate), mean: series((p) => over(p).mean), entropy: series((p) => over(p).entropy),
      masks: series((p) => (masked ? p.masks : NaN)), wrote: series((p) => p.wrote), nfe: series((p) => p.nfe),
    };
  }

  /* Order of writing: [{column, at, kind, stands}] of every mark; `stands`: this is the writing that is still
   * there when its part of the run ends. */
  function order(run) {
    const found = [];
    for (const part of segments(run)) {
      const last = run.stops[part.to];
      for (let column = part.from + 1; column <= part.to; column += 1) {
        const stop = run.stops[column];
        for (const {at, kind} of marksAt(run, column)) {
          const commit = last.commits[at];
          const stands = kind !== 'remask' && Boolean(commit) && commit === stop.commits[at];
          found.push({column, at, kind, stands});
        }
      }
    }
    return found;
  }

  // ---------------------------------------------------------------- clashes of tokens committed together

  /* Steps that committed the same number of tokens, fewest together first: [{together, steps, commits, clashing}],
   * as far as the second look went. */
  function clashCounts(run, share) {
    const found = new Map(), steps = new Map();
    for (const given of run.clashes.of.values()) {
      const together = given.others + 1;
      if (!found.has(together)) found.set(together, {together, commits: 0, clashing: 0});
      const row = found.get(together);
      row.commits += 1;
      row.clashing += M.isClash(given, share) ? 1 : 0;
      steps.set(given.step, together);
    }
    const stepsOf = (together) => [...steps.values()].filter((other) => other === together).length;
    return [...found.values()].sort((a, b) => a.together - b.together)
      .map((row) => ({...row, steps: stepsOf(row.together)}));
  }

  /* One value a column: tokens that the step committed, and how many of them clash. */
  function clashSeries(run, share) {
    const together = new Map(), clashing = new Map();
    for (const given of run.clashes.of.values()) {
      together.set(given.step, given.others + 1);
      clashing.set(given.step, (clashing.get(given.step) || 0) + (M.isClash(given, share) ? 1 : 0));
    }
    const known = (stop) => Boolean(stop.wrote) && stop.step <= run.clashes.steps;
    const series = (of) => Float64Array.from(run.stops, (stop) => (known(stop) ? of.get(stop.step) || 0 : NaN));
    return {together: series(together), clashing: series(clashing)};
  }

  const SHARES = {0.1: 'a tenth', 0.25: 'a quarter', 0.5: 'half', 0.75: 'three quarters'};

  const clashNote = (share) => 'A step draws its tokens each by itself, as if they had nothing to do with each other. '
    + `A token clashes when it keeps less than ${SHARES[share] || share} of its probability once the others of its `
    + 'step are given; one that is committed alone cannot.';

  // ---------------------------------------------------------------- the axis

  /* How many columns there will be: a running run is going to take the steps it has planned. */
  function plannedColumns(run) {
    const have = run.stops.length, newest = run.stops[have - 1];
    if (run.status !== 'running') return have;
    return have + Math.max(0, (run.head.steps || 0) - newest.step);
  }

  const ROUND = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000];

  // A round distance between ticks, so that at most `most` of them fit in `count`.
  const tickEvery = (count, most) => ROUND.find((every) => count / every <= most) || Math.ceil(count / most);

  /* Ticks under the columns, [{column, step}]: round steps, and only where there is room for `most`. Columns
   * that are still to come have theirs too, so that none moves while a run goes on. */
  function stepTicks(run, most) {
    const planned = plannedColumns(run), newest = run.stops[run.stops.length - 1];
    const every = tickEvery(planned - 1 || 1, most);
    const found = [];
    for (let column = 0; column < planned; column += 1) {
      const stop = run.stops[column];
      const step = stop ? stop.step : newest.step + column - run.stops.length + 1;
      if (step % every === 0 && !(stop && stop.edited)) found.push({column, step});
    }
    return found;
  }

  // ---------------------------------------------------------------- words

  const DASH = '–';
  const fixed = (x, digits = 2) => (x >= 0 ? x.toFixed(digits) : DASH);
  const small = (p) => (p > 0 && p < 0.005 ? '<.01' : fixed(p).replace(/^0/, ''));
  const whole = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ','); // 2823 -> 2,823

  const written = new WeakMap(); // stop -> its texts

  /* The text of each token of a stop, characters that several tokens make given to the last of them. */
  function texts(run, stop) {
    if (written.has(stop)) return written.get(stop);
    const parts = Array.from(stop.tokens, (id, at) => {
      if (id === stop.mask) return null;
      if (stop.own.has(at)) return stop.own.get(at);
      const part = run.vocab.get(id);
      return part === undefined ? `⟨${id}⟩` : part;
    });
    const found = M.alignText(parts).map(({text, part}) => text || (part ? `part of ${part}` : ''));
    written.set(stop, found);
    return found;
  }

  // A token on one line, with stand-ins for what would not be seen.
  const onOneLine = (text) => M.visible(text.replace(/^ (?=.)/, ''))
    .map(({kind, text: piece}) => (kind === 'break' ? '' : piece)).join('');

  const textAt = (run, stop, at) => onOneLine(texts(run, stop)[at] || '');

  function candidate(run, look, row, j) {
    const id = look.ids[row * look.k + j];
    return {text: onOneLine(M.tokenText(run.vocab, id)), p: chance(look, row, j)};
  }

  function stateOf(run, stop, at) {
    if (stop.tokens[at] === stop.mask) return stop.flags[at] & M.REMASKED ? 'masked again' : 'mask';
    const commit = stop.commits[at];
    const quoted = `“${textAt(run, stop, at)}”`;
    if (commit) {
      const when = commit.step === stop.step && !stop.edited ? 'written here' : `written at step ${commit.step}`;
      return `${quoted}, ${when}`;
    }
    if (stop.flags[at] & M.FORCED) return `${quoted}, forced by you`;
    if (stop.flags[at] & M.NOISE) return `${quoted}, a random word of the noise`;
    return stop.flags[at] & M.FIXED ? `${quoted}, given` : quoted;
  }

  const NOT_YET = 'not written yet';
  const absent = {
    written: (stop, at) => (stop.tokens[at] === stop.mask ? NOT_YET : 'no probability: the run did not write it'),
    other: 'the model was not asked here',
  };

  function valueWords(run, column, at, quantity, final) {
    const stop = run.stops[column], row = rowOf(stop, at), value = valueAt(run, stop, at, quantity, final);
    if (quantity === 'written') return value >= 0 ? `probability ${small(value)}` : absent.written(stop, at);
    if (row < 0) return absent.other;
    if (quantity === 'entropy') {
      const best = stop.look.k ? candidate(run, stop.look, row, 0) : null;
      return `entropy ${fixed(value)} nats${best ? `, best guess “${best.text}” ${small(best.p)}` : ''}`;
    }
    if (quantity === 'margin') {
      if (!(value >= 0)) return 'only one candidate was kept';
      const [a, b] = [0, 1].map((j) => candidate(run, stop.look, row, j));
      return `${small(value)} between “${a.text}” ${small(a.p)} and “${b.text}” ${small(b.p)}`;
    }
    if (quantity === 'near') return `its latent lies ${fixed(value)} from this word`;
    if (quantity === 'lead') return `the second nearest word is ${fixed(value)} farther than this one`;
    if (final < 0) return 'no token stands here in the end yet';
    const name = `in the end “${onOneLine(M.tokenText(run.vocab, final))}”`;
    const exact = exactAt(run, stop, at, row, final);
    if (exact) return `${name}: probability ${M.small(exact.p)}, rank ${whole(exact.rank)}`;
    if (value === OUTSIDE) return `${name}: none of the ${stop.look.k} candidates kept`;
    if (Number.isNaN(value)) return `${name}: no candidates were kept`;
    const place = placeOf(stop.look, row, final);
    return `${name}: probability ${small(chance(stop.look, row, place))}, rank ${place + 1}`;
  }

  /* A cell in words: {where, state, value}. */
  function describe(run, column, at, quantity, final) {
    const stop = run.stops[column];
    return {
      where: `token ${M.number(at)} · step ${stop.step}${stop.edited ? ', edited' : ''}`,
      state: stateOf(run, stop, at), value: valueWords(run, column, at, quantity, final),
    };
  }

  // ---------------------------------------------------------------- tables to take away

  /* RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe. */
  function field(value) {
    if (Number.isInteger(value)) return String(value);
    if (typeof value === 'number') return Number.isNaN(value) ? '' : String(Number(value.toPrecision(6)));
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }

  const table = (rows) => rows.map((row) => `${row.map(field).join(',')}\r\n`).join('');

  /* The heatmap, one line a cell that has a value or a mark. Positions count from 1, as on the page. */
  function matrixCsv(run, quantity) {
    const {columns, parts, finals: ends} = matrix(run, quantity);
    const rows = [['segment', 'step', 'position', 'token', 'text', quantity, 'event']];
    const k = run.head.k || 0;
    parts.forEach((part, i) => {
      for (let c = part.from; c <= part.to; c += 1) {
        const stop = run.stops[c], events = new Map(marksAt(run, c).map(({at, kind}) => [at, kind]));
        columns[c].forEach((value, at) => {
          if (Number.isNaN(value) && !events.has(at)) return;
          const id = ofFinal(quantity) ? ends[i][at] : stop.tokens[at];
          const text = id === stop.mask || id < 0 ? '' : M.tokenText(run.vocab, id);
          const shown = value === OUTSIDE ? `> ${stop.look ? stop.look.k : k}` : value;
          const outside = value === OUTSIDE && quantity === 'final' ? 'outside' : shown;
          rows.push([i, stop.step, M.number(at), id, text, outside, events.get(at) || '']);
        });
      }
    });
    return table(rows);
  }

  /* `share`: below which a commit clashes; its columns are there where the run was looked at for them. */
  function curvesCsv(run, share = M.SHARE) {
    const series = {...curves(run), ...(run.clashes ? clashSeries(run, share) : {})};
    const more = run.clashes ? ['together', 'clashing'] : [];
    const names = ['gate', 'mean', 'entropy', 'masks', 'wrote', 'nfe', ...more];
    const parts = segments(run);
    const rows = [['segment', 'step', ...names]];
    parts.forEach((part, i) => {
      for (let c = part.from; c <= part.to; c += 1) {
        rows.push([i, series.step[c], ...names.map((name) => series[name][c])]);
      }
    });
    return table(rows);
  }

  function clashCsv(run, share = M.SHARE) {
    const rows = clashCounts(run, share).map((row) => (
      [row.together, row.steps, row.commits, row.clashing, row.clashing / row.commits, share]));
    return table([['together', 'steps', 'commits', 'clashing', 'share_clashing', 'keeps_less_than'], ...rows]);
  }

  return {
    OUTSIDE, MOST_ENTROPY, QUANTITIES, isOf, isOpen, ofFinal, segments, carried, finals, valueAt, columnOf, matrix, shade,
    marks, marksAt, curves, order, plannedColumns, tickEvery, stepTicks, texts, textAt, describe, small, fixed,
    matrixCsv, curvesCsv, clashCsv, exactAt, lastRank, clashCounts, clashSeries, clashNote, whole,
  };
})(typeof CanvasModel !== 'undefined' ? CanvasModel : require('../token_canvas/model.js'));

if (typeof module !== 'undefined') module.exports = RunSeries;
