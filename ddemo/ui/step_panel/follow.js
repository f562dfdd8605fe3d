/* Follows what the token canvas shows, and has it drawn as figures.
 *
 * mountStepFollower(element, host): `element` lies in the panel, beside the figures. host = {
 *   trigger(name, data)  tells Python: "look" {run, step, segment, pos, same, n}; `same`: the step is that of the
 *                        last answer, so that only the token's bars are needed
 *   watch(fn)            calls fn with each answer: JSON of {n}, the number that was asked with
 * }
 * Only while the panel is in sight. One question at a time; what is shown meanwhile is asked for afterwards, so
 * that the last one wins however fast a run comes. A mark that is clicked moves the canvas there: a cell of the
 * heatmap (`meta.positions`), a point of a path (`meta.position` and `meta.steps`).
 */
function mountStepFollower(element, host) {
  'use strict';

  const REST_MS = 250, PATIENCE_MS = 20000;
  const NOTHING = {run: null, step: null, segment: null, pos: null};
  let wanted = NOTHING;
  let asked = null; // the last question
  let waiting = false, rest = 0, patience = 0, number = 0;

  const sameStep = (a, b) => a.run === b.run && a.step === b.step && a.segment === b.segment;
  const same = (a, b) => sameStep(a, b) && a.pos === b.pos;
  const inSight = () => element.isConnected && element.getClientRects().length > 0;

  function heard(event) {
    const {run = null, step = null, at = 0, pos = null, shown = null} = event.detail || {};
    const stop = shown && shown.stops ? shown.stops[at] : null;
    wanted = stop ? {run, step, segment: stop.part, pos} : NOTHING;
    clearTimeout(rest);
    rest = setTimeout(ask, REST_MS);
  }

  function ask() {
    if (!inSight() || waiting || (asked && same(asked, wanted))) return;
    number += 1;
    const question = {...wanted, same: Boolean(asked) && sameStep(asked, wanted), n: number};
    asked = wanted;
    waiting = true;
    patience = setTimeout(() => { asked = null; waiting = false; }, PATIENCE_MS);
    host.trigger('look', question);
  }

  function answered(text) {
    let answer = null;
    try { answer = JSON.parse(text); } catch { return; }
    if (!answer || answer.n !== number) return;
    clearTimeout(patience);
    waiting = false;
    ask();
  }

  // Gradio may throw the block away and make another; what listens outside it must then stop.
  function whileMounted(listener) {
    return function listen(event) {
      if (element.isConnected) listener(event);
      else document.removeEventListener(event.type, listen);
    };
  }

  document.addEventListener('ddemo:shown', whileMounted(heard));
  document.addEventListener('ddemo:pick', whileMounted((event) => {
    const {meta, index} = event.detail || {}, {run, step} = asked || NOTHING;
    if (!run || !meta) return;
    const go = (where) => document.dispatchEvent(new CustomEvent('ddemo:goto', {detail: {run, ...where}}));
    if (meta.positions && Array.isArray(index)) go({step, pos: meta.positions[index[1]]});
    else if (meta.steps && index in meta.steps) go({step: meta.steps[index], pos: meta.position});
  }));
  const opened = new ResizeObserver(() => (element.isConnected ? ask() : opened.disconnect()));
  opened.observe(element);
  host.watch(answered);
  document.dispatchEvent(new CustomEvent('ddemo:ask', {detail: {}}));
}
