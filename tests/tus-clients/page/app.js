/** The page of a web application: Uppy's Dashboard, Golden Retriever and tus, as their documentation puts them together. */
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import GoldenRetriever from '@uppy/golden-retriever'
import Tus from '@uppy/tus'
import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

const settings = new URLSearchParams(location.search)
const chunkSize = Number(settings.get('chunk')) || Number.POSITIVE_INFINITY

window.uppy = new Uppy({ debug: true })
  .use(Dashboard, { target: '#dashboard', inline: true, width: 750, height: 450, showProgressDetails: true })
  .use(GoldenRetriever, { indexedDB: { maxFileSize: 64 * 1024 * 1024, maxTotalSize: 256 * 1024 * 1024 } })
  .use(Tus, { endpoint: settings.get('endpoint'), chunkSize, retryDelays: [200, 400, 800, 1600, 3200] })
