/* Browsers start no worker for a page that lies on a disk: there, a frame of the page stands for the search's. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      this.scope = this.frame.contentWindow
      this.scope.postMessage = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      const script = this.scope.document.createElement("script")
      this.ready = new Promise(done => script.addEventListener("load", done))
      script.src = new URL(url, document.baseURI).href
      this.scope.document.body.append(script)
    }
    postMessage(data) {
      const EventThere = this.scope.MessageEvent
      this.ready.then(() => this.scope.dispatchEvent(new EventThere("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
