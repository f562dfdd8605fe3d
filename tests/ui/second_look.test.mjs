// What the two looks say of a run, under Node: `node --test tests/ui/second_look.test.mjs`.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';

const require = createRequire(import.meta.url);
const W = require(new URL('../../ddemo/ui/second_look/look.js', import.meta.url).pathname);

const RUN = {
  id: 'a', status: 'finished', head: {k: 5}, seconds: 2, before: 0, exact: null, clashes: null,
  rows: {final: 10, hazard: 40}, stops: [{step: 0, nfe: 0}, {step: 10, nfe: 10}],
};
const commits = (...list) => new Map(list.map(([p, was, others]) => [{}, {p, was, others, step: 1}]));
const clashes = (of, steps = 10) => ({...RUN, clashes: {steps, of}});
const text = (run, what, told = null, busy = null) => W.offer(run, what, told, busy, 0.5).text;

test('the cost is said before, in rows, and in seconds where this run was timed here', () => {
  assert.equal(text(RUN, 'exact'), '10 denoiser rows, up to 2 s.');
  assert.equal(text(RUN, 'clashes'), '40 denoiser rows, up to 8 s.');
  assert.equal(text({...RUN, seconds: 0.1}, 'exact'), '10 denoiser rows, less than a second.');
  assert.equal(text({...RUN, stored: true}, 'exact'), '10 denoiser rows.');
  assert.equal(text({...RUN, before: 5}, 'exact'), '10 denoiser rows, up to 4 s.', 'a branch is timed from its start');
  assert.equal(text({...RUN, seconds: NaN}, 'exact'), '10 denoiser rows.');
  assert.equal(text({...RUN, rows: {final: 1, hazard: 1234}, stored: true}, 'exact'), '1 denoiser row.');
  assert.equal(text({...RUN, rows: {final: 1, hazard: 1234}, stored: true}, 'clashes'), '1,234 denoiser rows.');
});

test('what cannot be asked is not offered, and says why', () => {
  for (const what of ['exact', 'clashes']) {
    assert.equal(W.offer(null, what, null, null, 0.5).enabled, false);
    assert.equal(W.offer({...RUN, status: 'running'}, what, null, null, 0.5).enabled, false);
    assert.match(text({...RUN, status: 'running'}, what), /has ended/);
    assert.equal(W.offer({...RUN, status: 'stopped'}, what, null, null, 0.5).enabled, true);
  }
  const noise = W.offer({...RUN, rows: {final: 3, hazard: null}}, 'clashes', null, null, 0.5);
  assert.deepEqual([noise.enabled, noise.text], [true, 'Not under this noise: no token is committed.']);
  assert.match(text({...RUN, rows: {final: 3, hazard: 0}}, 'clashes'), /every token was committed alone/);
  assert.equal(W.offer({...RUN, rows: {final: 0, hazard: 0}}, 'exact', null, null, 0.5).enabled, false);
  assert.equal(W.offer({...RUN, rows: null}, 'exact', null, null, 0.5).text, '');
});

test('while it works the button is Stop and the line says how far it is', () => {
  const told = {run: 'a', what: 'exact', state: 'working', done: 96, all: 1310, say: ''};
  const {label, on, enabled, text: line} = W.offer(RUN, 'exact', told, told, 0.5);
  assert.deepEqual([label, on, enabled, line], ['Stop', true, true, '96 of 1,310 rows']);
  assert.equal(W.offer(RUN, 'clashes', null, told, 0.5).enabled, false, 'one look at a time');
  assert.match(text({...RUN, id: 'b'}, 'exact', null, told), /other run/);
  assert.equal(text(RUN, 'exact', {...told, state: 'asked'}), 'Waiting…');
  const refused = W.offer(RUN, 'exact', {...told, state: 'refused', say: 'No.'}, null, 0.5);
  assert.deepEqual([refused.text, refused.kind, refused.enabled], ['No.', 'refused', true]);
  assert.equal(refused.label, 'Exact values');
});

test('what was found is a sentence, a partial result says how far it goes', () => {
  const exact = (steps) => ({...RUN, exact: {steps, of: new Map([[{}, {rank: [1, 0, 2823]}], [{}, {rank: [5, 7]}]])}});
  assert.equal(text(exact(10), 'exact'),
    '4 values known exactly; 2 lie beyond the 5 candidates kept, the furthest at rank 2,823.');
  assert.equal(W.offer(exact(10), 'exact', null, null, 0.5).enabled, false);
  assert.match(text(exact(4), 'exact'), /^Stopped after step 4 of 10\. 4 values/);
  assert.equal(W.offer(exact(4), 'exact', null, null, 0.5).enabled, true);
  const none = {...RUN, exact: {steps: 10, of: new Map([[{}, {rank: [1, 2]}]])}};
  assert.equal(text(none, 'exact'), '2 values known exactly; none lies beyond the 5 candidates kept.');
});

test('clashes follow the share', () => {
  const run = clashes(commits([0.2, 0.5, 1], [0.6, 0.6, 1], [0.1, 0.9, 2], [0.01, 0.9, 0]));
  const say = (share) => W.offer(run, 'clashes', null, null, share).text;
  assert.equal(say(0.5), '2 of 3 tokens committed together keep less than half of their probability given the others.');
  assert.equal(say(0.25),
    '1 of 3 tokens committed together keeps less than a quarter of its probability given the others.');
  assert.match(say(0.1), /^0 of 3 tokens committed together keep less than a tenth of their/);
  assert.equal(text(clashes(commits([0.5, 0.5, 0])), 'clashes'), 'Every token was committed alone, so none clashes.');
  assert.match(text(clashes(commits([0.2, 0.5, 1]), 3), 'clashes'), /^Stopped after step 3 of 10\. 1 of 1 token /);
});
