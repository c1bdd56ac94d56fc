// The order of Gaussians from back to front: a radix sort of their depths, in the background.

// Everything that orders Gaussians by depth. It runs in a worker, as text, and uses nothing from outside.
function depthSorter(means) {
  const total = means.length / 3;
  const depths = new Float32Array(total);
  const keys = new Uint32Array(depths.buffer); // positive floats are ordered as their bits are
  const seen = new Uint32Array(total), halfway = new Uint32Array(total);
  const low = new Uint32Array(65536), high = new Uint32Array(65536);

  function startingPlaces(counts) {
    let place = 0;
    for (let digit = 0; digit < 65536; digit++) {
      const count = counts[digit];
      counts[digit] = place;
      place += count;
    }
  }

  // Writes the indices of the Gaussians in front of the camera to `order`, far ones first, and returns their number.
  return function sort(center, forward, near, order) {
    const [x, y, z] = forward;
    low.fill(0);
    high.fill(0);
    let count = 0;
    for (let i = 0; i < total; i++) {
      const depth =
        (means[3 * i] - center[0]) * x + (means[3 * i + 1] - center[1]) * y + (means[3 * i + 2] - center[2]) * z;
      if (!(depth > near)) continue;
      depths[i] = depth;
      low[keys[i] & 65535]++;
      high[keys[i] >>> 16]++;
      seen[count++] = i;
    }
    startingPlaces(low);
    startingPlaces(high);
    for (let i = 0; i < count; i++) halfway[low[keys[seen[i]] & 65535]++] = seen[i];
    for (let i = 0; i < count; i++) order[count - 1 - high[keys[halfway[i]] >>> 16]++] = halfway[i];
    return count;
  };
}

// The worker's side: the means arrive first, then views one at a time.
function serveSorting(sorter) {
  let sort = null;
  onmessage = ({ data }) => {
    if (!sort) {
      sort = sorter(data);
      return;
    }
    const count = sort(data.center, data.forward, data.near, data.order);
    postMessage({ order: data.order, count }, [data.order.buffer]);
  };
}

// Sorts in a worker, one view at a time, or in this thread where the browser allows no worker.
class BackgroundSorter {
  constructor(means, onSorted) {
    this.order = new Uint32Array(means.length / 3);
    this.onSorted = onSorted;
    this.busy = null;
    try {
      const source = `(${serveSorting})(${depthSorter})`;
      this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      this.worker.onmessage = ({ data }) => this.finish(data.order, data.count);
      this.worker.onerror = () => this.stayHere(means);
      this.worker.postMessage(means);
    } catch {
      this.stayHere(means);
    }
  }

  stayHere(means) {
    this.worker = null;
    this.sort = depthSorter(means);
    if (!this.busy) return;
    const view = this.busy;
    this.busy = null;
    this.order = new Uint32Array(means.length / 3); // the worker took the other one with it
    this.request(view);
  }

  request(view) {
    if (this.busy) return;
    this.busy = view;
    const task = { center: view.center, forward: [2, 5, 8].map((i) => view.rotation[i]), near: view.near };
    if (this.worker) this.worker.postMessage({ ...task, order: this.order }, [this.order.buffer]);
    else this.finish(this.order, this.sort(task.center, task.forward, task.near, this.order));
  }

  finish(order, count) {
    const view = this.busy;
    this.busy = null;
    this.order = order;
    this.onSorted(view, order.subarray(0, count));
  }
}
