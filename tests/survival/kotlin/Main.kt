import java.io.File
import java.io.IOException
import kotlin.system.exitProcess
import okhttp3.HttpUrl
import okhttp3.HttpUrl.Companion.toHttpUrl
import okhttp3.MediaType
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import okio.BufferedSink
import okio.buffer
import okio.source

fun main(arguments: Array<String>) {
    var session: String? = null
    val http = OkHttpClient.Builder().addNetworkInterceptor { chain ->
        chain.proceed(chain.request()).also { answer -> answer.header("X-Session-ID")?.let { session = it } }
    }.build()
    val upload = Resumable(http, arguments[0].toHttpUrl(), File("photo.jpg"), "image/jpeg".toMediaType())
    try {
        while (true) Thread.sleep(1000 * (upload.run() ?: break))
    } catch (refused: Refused) {
        System.err.println(refused.message)
        exitProcess(1)
    }
    println(session)
    exitProcess(0)
}
