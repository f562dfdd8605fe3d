/* A plotly figure on the page: draws what it is sent, in the page's colours, and hands it out as a file.
 *
 * mountPlotView(element, host): `element` contains plot.html. host = {
 *   value, watch(fn)   the message on show, and those that follow: JSON of {figure, title, titleHeight, name,
 *                      summary, csv} or {say: a sentence in place of a figure}; an empty string changes nothing
 *   library            address of plotly.js on this server, from the page's root
 *   trigger(name, data)  tells Python: "pick" {meta, index, x, y} of the mark that was clicked
 * }
 * The same "pick" is a DOM event `ddemo:pick` that bubbles, for who listens in the page. The library (some
 * megabytes) is asked for once in a page, when the first of these comes into sight. Strings "var(--name)" in a
 * figure become what the page's style says, so that a figure follows the theme.
 */
function mountPlotView(element, host) {
  'use strict';

  const LOADING = 'Loading the charts …', MISSING = 'The charts could not be loaded. Close this and open it again.';
  const PICTURE_WIDTH = 900, PICTURE_SCALE = 2;
  const CONFIG = {displayModeBar: false, responsive: false, showTips: false, doubleClick: false};
  const ui = {};
  element.querySelectorAll('[data-ddp]').forEach((node) => { ui[node.dataset.ddp] = node; });

  let shown = {}; // the message
  let drawn = false; // whether plotly has made the element its own
  let stale = true; // whether what is drawn is not what is to be shown
  let width = 0;

  function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
  const inSight = () => ui.frame.clientWidth > 0;

  // ---------------------------------------------------------------- the library

  function library() {
    if (window.Plotly) return Promise.resolve(window.Plotly);
    if (!window.ddemoPlotly) {
      window.ddemoPlotly = new Promise((resolve, reject) => {
        const script = document.createElement('script');
        const root = (window.gradio_config && window.gradio_config.root) || location.origin + location.pathname;
        script.src = `${root.replace(/\/$/, '')}/${host.library}`;
        script.onload = () => (window.Plotly ? resolve(window.Plotly) : reject(new Error('no Plotly in it')));
        script.onerror = () => reject(new Error('not served'));
        document.head.append(script);
      });
      window.ddemoPlotly.catch(() => { window.ddemoPlotly = null; }); // the next one tries again
    }
    return window.ddemoPlotly;
  }

  // ---------------------------------------------------------------- the figure in the page's colours

  function coloured(part, style) {
    if (typeof part === 'string') {
      const named = /^var\((--[\w-]+)\)$/.exec(part);
      return named ? style.getPropertyValue(named[1]).trim() : part;
    }
    if (Array.isArray(part)) return part.map((item) => coloured(item, style));
    if (part === null || typeof part !== 'object') return part;
    return Object.fromEntries(Object.entries(part).map(([name, item]) => [name, coloured(item, style)]));
  }

  const figureNow = () => coloured(shown.figure, getComputedStyle(element));

  // The page writes the title itself, in a heading.
  function bare(layout) {
    const {title, ...rest} = layout, less = shown.titleHeight || 0, top = layout.margin ? layout.margin.t : 0;
    const smaller = {...rest, autosize: true, margin: {...layout.margin, t: Math.max(0, top - less)}};
    if (layout.height) smaller.height = layout.height - less;
    return smaller;
  }

  async function draw() {
    const {figure, say = ''} = shown;
    const waits = Boolean(figure) && !window.Plotly;
    ui.plot.classList.toggle('ddp-away', !figure);
    setText(ui.say, waits && !drawn ? LOADING : say);
    setText(ui.title, figure ? shown.title || '' : '');
    ui.title.hidden = !ui.title.textContent; // an empty heading is still one to a screen reader
    for (const name of ['png', 'svg', 'csv']) {
      ui[name].disabled = name === 'csv' ? !shown.csv : !figure;
      ui[name].hidden = name === 'csv' && Boolean(figure) && !shown.csv;
      ui[name].setAttribute('aria-label', `Save ${shown.title || 'the chart'} as ${name.toUpperCase()}`);
    }
    ui.plot.setAttribute('aria-label', shown.summary || shown.title || '');
    ui.plot.setAttribute('aria-hidden', String(!figure));
    if (!inSight()) return;
    let Plotly;
    try {
      Plotly = await library();
    } catch (problem) {
      console.warn(`plot view: ${problem.message}`);
      if (shown.figure) setText(ui.say, MISSING);
      return;
    }
    if (shown.figure && stale && inSight()) show(Plotly); // meanwhile there may be another
  }

  function show(Plotly) {
    const {data, layout} = figureNow();
    stale = false;
    width = ui.frame.clientWidth;
    Plotly.react(ui.plot, data, bare(layout), CONFIG);
    setText(ui.say, '');
    if (drawn) return;
    drawn = true;
    ui.plot.on('plotly_click', picked);
  }

  function picked({points}) {
    const [point] = points || [];
    if (!point) return;
    const index = point.pointIndex === undefined ? point.pointNumber : point.pointIndex;
    const detail = {meta: point.data.meta || null, index, x: point.x, y: point.y};
    element.dispatchEvent(new CustomEvent('ddemo:pick', {bubbles: true, detail}));
    host.trigger('pick', detail);
  }

  function take(text) {
    if (!text) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch (problem) {
      console.warn(`plot view: ignored a message that is not JSON: ${problem.message}`);
      return;
    }
    shown = message || {};
    stale = true;
    const height = shown.figure && shown.figure.layout.height;
    if (height) ui.frame.style.setProperty('--ddp-height', `${height - (shown.titleHeight || 0)}px`);
    draw();
  }

  // ---------------------------------------------------------------- files to take away

  function save(blob, name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function savePicture(format) {
    const Plotly = await library();
    const {data, layout} = figureNow(), height = layout.height || 500;
    const wide = Math.max(PICTURE_WIDTH, ui.frame.clientWidth);
    const size = {width: wide, height, scale: format === 'png' ? PICTURE_SCALE : 1};
    await Plotly.downloadImage({data, layout}, {format, filename: `ddemo-${shown.name}`, ...size});
  }

  ui.png.addEventListener('click', () => savePicture('png'));
  ui.svg.addEventListener('click', () => savePicture('svg'));
  ui.csv.addEventListener('click', () => {
    save(new Blob([shown.csv], {type: 'text/csv;charset=utf-8'}), `ddemo-${shown.name}.csv`);
  });

  // ---------------------------------------------------------------- the page around

  const gone = (observer) => {
    if (element.isConnected) return false;
    observer.disconnect(); // Gradio may throw the block away and make another
    return true;
  };
  const sizes = new ResizeObserver(() => {
    if (gone(sizes) || !inSight()) return;
    if (stale || !drawn) draw();
    else if (ui.frame.clientWidth !== width) {
      width = ui.frame.clientWidth;
      window.Plotly.Plots.resize(ui.plot);
    }
  });
  sizes.observe(ui.frame);
  const themes = new MutationObserver(() => {
    if (gone(themes)) return;
    stale = true;
    draw();
  });
  for (const node of [document.documentElement, document.body]) {
    themes.observe(node, {attributes: true, attributeFilter: ['class']});
  }

  draw();
  take(host.value);
  host.watch(take);
}
